"""Faults planted in points whose places in the patient are known; each is named, and no other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from annotation_helpers import cell, spine, told
from spinegrade.annotations.judge import judge
from spinegrade.annotations.points import not_in_order
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_LEVELS, SPINAL, SUBARTICULAR


def both(code: str, level: str) -> set[tuple[str, str, str]]:
    return {(code, level, "left"), (code, level, "right")}


def test_a_clean_study_has_no_findings() -> None:
    assert told(spine()) == set()
    assert judge(spine()[:0]).empty


def test_the_numbers_of_located_points_do_not_matter() -> None:
    points = spine()
    points["instance_number"] = np.random.default_rng(1).permutation(len(points))
    assert told(points) == set()


@pytest.mark.parametrize("condition", [FORAMINAL, SUBARTICULAR])
def test_sides_exchanged_in_the_patient(condition: str) -> None:
    points = spine()
    left, right = (cell(points, condition, "l3_l4", side) for side in ("left", "right"))
    points.loc[left, ["x_mm", "index"]], points.loc[right, ["x_mm", "index"]] = (
        points.loc[right, ["x_mm", "index"]].to_numpy(),
        points.loc[left, ["x_mm", "index"]].to_numpy(),
    )
    assert told(points) == both("LANDMARK_SIDES_EXCHANGED", "l3_l4")
    size = 20 if condition == SUBARTICULAR else 32
    assert judge(points)["found"][0] == (
        f"the left point lies {size}.0 mm to the patient's right of the right one"
    )


def test_an_axial_image_shown_the_other_way_round_is_no_exchange() -> None:
    points = spine()
    axial = points["condition"] == SUBARTICULAR
    points.loc[axial, "x_px"] = 200 - points.loc[axial, "x_px"]
    assert told(points) == set()


def test_foramina_on_one_slice_are_told_and_no_exchange() -> None:
    points = spine()
    at = cell(points, FORAMINAL, "l2_l3", "left") | cell(points, FORAMINAL, "l2_l3", "right")
    # The tilt of the plane gives the left one the lesser x.
    points.loc[at, ["x_mm", "index"]] = [[-0.5, 7], [0.5, 7]]
    assert told(points) == both("LANDMARK_ONE_SLICE", "l2_l3")
    points.loc[at, "stack"] = [0, 1]
    assert "LANDMARK_ONE_SLICE" not in {code for code, _, _ in told(points)}


@pytest.mark.parametrize(
    ("condition", "side"), [(SPINAL, "central"), (FORAMINAL, "left"), (SUBARTICULAR, "right")]
)
def test_two_levels_exchanged_are_both_named(condition: str, side: str) -> None:
    points = spine()
    upper, lower = cell(points, condition, "l2_l3", side), cell(points, condition, "l3_l4", side)
    heights = points.loc[upper, "z_mm"].item(), points.loc[lower, "z_mm"].item()
    points.loc[upper, "z_mm"], points.loc[lower, "z_mm"] = heights[1], heights[0]
    code = "LANDMARK_LEVELS_OUT_OF_ORDER"
    named = {row for row in told(points) if row[0] == code}
    assert named == {(code, "l2_l3", side), (code, "l3_l4", side)}


def test_one_level_out_of_order_is_named_alone_with_all_heights() -> None:
    points = spine()
    points.loc[cell(points, FORAMINAL, "l5_s1", "left"), "z_mm"] = 50.0
    code = "LANDMARK_LEVELS_OUT_OF_ORDER"
    found = judge(points)
    found = found[found["code"] == code]
    assert points.loc[found["row"], "level"].tolist() == ["l5_s1"]
    assert found["found"].item() == (
        "from the head down: L1/L2 70.0 mm, L2/L3 35.0 mm, L3/L4 0.0 mm, L4/L5 -35.0 mm, "
        "L5/S1 50.0 mm"
    )
    # 3 mm below the level above it is not yet another level.
    points.loc[cell(points, FORAMINAL, "l5_s1", "left"), "z_mm"] = -37.5
    assert code in {row[0] for row in told(points)}
    points.loc[cell(points, FORAMINAL, "l5_s1", "left"), "z_mm"] = -38.5
    assert code not in {row[0] for row in told(points)}


@pytest.mark.parametrize(
    ("level", "off_mm", "far"),
    [
        # Levels are about 35 mm apart: half of it in the middle, all of it at the ends.
        ("l3_l4", 14.0, False),
        ("l3_l4", 21.0, True),
        ("l1_l2", 30.0, False),
        ("l1_l2", 40.0, True),
        ("l5_s1", 40.0, True),
    ],
)
@pytest.mark.parametrize("axis", ["x_mm", "y_mm"])
def test_a_canal_point_far_from_the_line(level: str, off_mm: float, far: bool, axis: str) -> None:
    points = spine()
    points["y_mm"] = 20.0
    points.loc[cell(points, SPINAL, level), axis] += off_mm
    named = {row for row in told(points) if row[0] == "LANDMARK_OFF_LINE"}
    assert named == ({("LANDMARK_OFF_LINE", level, "central")} if far else set())


def test_two_canal_points_at_one_place_and_a_third_far_off() -> None:
    points = spine()
    twin = cell(points, SPINAL, "l2_l3")
    points.loc[twin, ["y_mm", "z_mm"]] = [20.0, 70.0]
    points.loc[cell(points, SPINAL, "l4_l5"), "y_mm"] = 90.0
    assert ("LANDMARK_OFF_LINE", "l4_l5", "central") in told(points)


def test_series_that_do_not_meet() -> None:
    points = spine()
    recesses = points["condition"] == SUBARTICULAR
    points.loc[recesses, "z_mm"] += 24.0
    assert told(points) == set()
    points.loc[recesses, "z_mm"] += 11.0
    # Foramina and canal agree, so the axial series alone is named, at all of its levels.
    expected = {
        (code, level, side)
        for level in LUMBAR_LEVELS
        for code, level, side in both("LANDMARK_SERIES_APART", level)
    }
    assert told(points) == expected
    found = judge(points)["found"][0]
    assert found.startswith("the level's points lie 35 mm from those in series 1")


def test_two_series_that_do_not_meet_are_both_named() -> None:
    points = spine()
    points = points[points["condition"] != FORAMINAL].reset_index(drop=True)
    points.loc[points["condition"] == SPINAL, "x_mm"] = 60.0
    assert len(told(points)) == 15


def test_one_side_says_nothing_of_where_the_middle_lies() -> None:
    points = spine()
    points = points[points["side"] != "right"].reset_index(drop=True)
    points.loc[points["condition"] == FORAMINAL, "x_mm"] = 29.0
    assert told(points) == set()


def test_what_has_no_place_is_held_against_nothing() -> None:
    points = spine()
    lost = cell(points, SUBARTICULAR, "l4_l5", "left")
    points.loc[lost, ["stack", "index", "x_mm", "y_mm", "z_mm"]] = float("nan")
    points.loc[lost, ["code", "found"]] = ["LANDMARK_WITHOUT_SLICE", "no slice"]
    points.loc[lost, ["x_px", "instance_number"]] = [0, 999]
    outside = cell(points, SPINAL, "l2_l3")
    points.loc[outside, ["x_px", "y_mm"]] = [199.6, 500.0]
    assert told(points) == {
        ("LANDMARK_WITHOUT_SLICE", "l4_l5", "left"),
        ("LANDMARK_OUTSIDE_IMAGE", "l2_l3", "central"),
    }
    points.loc[outside, "x_px"] = 199.4
    assert "LANDMARK_OUTSIDE_IMAGE" not in {code for code, _, _ in told(points)}


@pytest.mark.parametrize(
    ("condition", "plane", "weighting", "good"),
    [
        (SPINAL, "sagittal", "t1", False),
        (SPINAL, "sagittal", "stir", True),
        (FORAMINAL, "sagittal", "t2", False),
        (SUBARTICULAR, "sagittal", "t2", False),
    ],
)
def test_a_series_of_another_kind(condition: str, plane: str, weighting: str, good: bool) -> None:
    points = spine()
    own = points["condition"] == condition
    points.loc[own, ["plane", "weighting"]] = [plane, weighting]
    named = {code for code, _, _ in told(points)}
    assert named == (set() if good else {"LANDMARK_OTHER_KIND"})


def test_two_points_of_a_cell_and_a_repeated_row() -> None:
    points = spine()
    other = points[cell(points, SUBARTICULAR, "l3_l4", "left")].assign(x_px=111.0, x_mm=-40.0)
    again = points[cell(points, SPINAL, "l1_l2")]
    points = pd.concat([points, other, again], ignore_index=True)
    assert told(points) == {
        ("LANDMARK_TWICE", "l3_l4", "left"),
        ("LANDMARK_REPEATED", "l1_l2", "central"),
    }
    found = judge(points).set_index("code")["found"]
    assert (
        found["LANDMARK_TWICE"].tolist()
        == ["instance 11, (110.0, 106.0) px and instance 11, (111.0, 106.0) px"] * 2
    )


def test_a_second_point_without_a_place_is_no_rival() -> None:
    points = spine()
    other = points[cell(points, SPINAL, "l3_l4")].assign(x_px=400.0)
    points = pd.concat([points, other], ignore_index=True)
    assert told(points) == {("LANDMARK_OUTSIDE_IMAGE", "l3_l4", "central")}


@pytest.mark.parametrize(
    ("values", "odd"),
    [
        ([1, 2, 3], []),
        ([1, 2, 9, 3, 4], [2]),
        ([2, 1, 3], [0, 1]),
        ([1, 1, 2], [0, 1]),
        ([5, 1, 2, 3, 4], [0]),
        ([3, 2, 1], [0, 1, 2]),
        ([], []),
    ],
)
def test_what_keeps_values_from_growing(values: list[float], odd: list[int]) -> None:
    assert np.flatnonzero(not_in_order(np.array(values, float))).tolist() == odd
