"""Faults in points of which only numbers and pixels are known, as in tables alone."""

from __future__ import annotations

import pytest
from annotation_helpers import cell, spine, told
from spinegrade.annotations.counts import count_numbers
from spinegrade.regions.lumbar_mri import FORAMINAL, SPINAL, SUBARTICULAR


def exchange(points, condition: str, level: str, column: str) -> None:
    left, right = (cell(points, condition, level, side) for side in ("left", "right"))
    values = points.loc[left, column].item(), points.loc[right, column].item()
    points.loc[left, column], points.loc[right, column] = values[1], values[0]


def test_a_clean_study_has_no_findings_and_is_counted() -> None:
    points = spine(located=False)
    assert told(points) == set()
    counts = count_numbers(points)
    assert (counts.points, counts.recess_pairs, counts.canal_series) == (25, 5, 1)
    assert (counts.recess_pairs_on_two_slices, counts.most_slices_apart) == (0, 0)
    assert (counts.axial_series, counts.axial_growing, counts.axial_falling) == (1, 1, 0)
    assert (counts.t1_series, counts.t1_left_greater, counts.t1_left_smaller) == (1, 1, 0)


def test_counts_are_the_same_for_located_points() -> None:
    assert count_numbers(spine()) == count_numbers(spine(located=False))


def test_numbering_from_the_other_end_is_no_fault() -> None:
    points = spine(located=False)
    points["instance_number"] = 60 - points["instance_number"]
    assert told(points) == set()
    counts = count_numbers(points)
    assert (counts.axial_growing, counts.axial_falling, counts.axial_neither) == (0, 1, 0)
    assert (counts.t1_left_greater, counts.t1_left_smaller, counts.t1_mixed) == (0, 1, 0)


def test_recesses_exchanged_by_column() -> None:
    points = spine(located=False)
    exchange(points, SUBARTICULAR, "l4_l5", "x_px")
    assert told(points) == {
        ("LANDMARK_SIDES_EXCHANGED", "l4_l5", side) for side in ("left", "right")
    }


def test_a_level_whose_foramina_run_against_the_others() -> None:
    points = spine(located=False)
    exchange(points, FORAMINAL, "l1_l2", "instance_number")
    assert told(points) == {
        ("LANDMARK_SIDES_EXCHANGED", "l1_l2", side) for side in ("left", "right")
    }
    counts = count_numbers(points)
    assert (counts.t1_mixed, counts.t1_left_greater, counts.t1_one_slice) == (1, 0, 0)


def test_as_many_of_either_kind_are_all_named() -> None:
    points = spine(located=False)
    points = points[points["level"].isin(["l1_l2", "l2_l3"])].reset_index(drop=True)
    exchange(points, FORAMINAL, "l1_l2", "instance_number")
    assert len(told(points)) == 4


def test_foramina_on_one_slice() -> None:
    points = spine(located=False)
    points.loc[cell(points, FORAMINAL, "l2_l3", "left"), "instance_number"] = 4
    assert told(points) == {("LANDMARK_ONE_SLICE", "l2_l3", side) for side in ("left", "right")}
    counts = count_numbers(points)
    assert (counts.t1_one_slice, counts.t1_mixed, counts.t1_left_greater) == (1, 0, 0)


@pytest.mark.parametrize(
    ("numbers", "odd"),
    [
        ([1, 6, 16, 11, 21], ["l3_l4", "l4_l5"]),
        ([1, 6, 11, 2, 21], ["l4_l5"]),
        ([21, 16, 1, 6, 3], ["l3_l4"]),
        ([1, 6, 6, 16, 21], ["l2_l3", "l3_l4"]),
    ],
)
def test_axial_numbers_that_neither_grow_nor_fall(numbers: list[int], odd: list[str]) -> None:
    points = spine(located=False)
    recesses = (points["condition"] == SUBARTICULAR) & (points["side"] == "right")
    points.loc[recesses, "instance_number"] = numbers
    assert told(points) == {("LANDMARK_NUMBERS_OUT_OF_ORDER", level, "right") for level in odd}


def test_canal_rows_out_of_order_and_off_the_line() -> None:
    points = spine(located=False)
    points.loc[cell(points, SPINAL, "l4_l5"), ["x_px", "y_px"]] = 5.0
    assert told(points) == {
        ("LANDMARK_LEVELS_OUT_OF_ORDER", "l4_l5", "central"),
        ("LANDMARK_OFF_LINE", "l4_l5", "central"),
    }


def test_a_series_of_which_one_point_is_located_is_judged_in_space_alone() -> None:
    points = spine()
    recesses = points["condition"] == SUBARTICULAR
    points.loc[recesses, "instance_number"] = [5, 5, 1, 1, 9, 9, 3, 3, 2, 2]
    assert told(points) == set()
    lost = recesses & (points["level"] != "l1_l2")
    points.loc[lost, ["stack", "index", "x_mm", "y_mm", "z_mm"]] = float("nan")
    assert told(points) == set()


def test_slices_may_be_nullable_integers() -> None:
    points = spine()
    lost = cell(points, SUBARTICULAR, "l4_l5", "left")
    points.loc[lost, ["stack", "index", "x_mm", "y_mm", "z_mm"]] = float("nan")
    points = points.astype({"stack": "Int64", "index": "Int64"})
    assert told(points) == set()
    assert count_numbers(points).recess_pairs == 5
