"""Detectors side by side, with answers worked out by hand."""

from __future__ import annotations

import math

import pandas as pd
from spinegrade.regions.lumbar_mri import FORAMINAL
from spinegrade.report.detectors import compare_detectors


def landmark(study: str, level: str, side: str, x_mm: float = 1.0) -> dict:
    return {"study": study, "condition": FORAMINAL, "level": level, "side": side} | {
        "x_mm": x_mm, "y_mm": 2.0, "z_mm": 3.0
    }  # fmt: skip


def error(detector: str, study: str, level: str, side: str, mm: float, **more: float) -> dict:
    row = {"detector": detector, "study": study, "condition": FORAMINAL, "level": level}
    row |= {"side": side, "error_mm": mm, "error_in_plane_mm": mm / 2, "error_in_plane_px": mm}
    return row | {"error_slices": 0.0, "side_right": True, "level_shift": 0} | more


LANDMARKS = pd.DataFrame(
    [
        *(landmark("a", level, "left") for level in ("l1_l2", "l2_l3", "l3_l4")),
        landmark("b", "l1_l2", "right"),
        landmark("b", "l2_l3", "right", math.nan),  # could not be located: it does not count
    ]
)
ERRORS = pd.DataFrame(
    [
        error("careful", "a", "l1_l2", "left", 2.0, error_slices=0.4),
        error("careful", "b", "l1_l2", "right", 6.0, error_slices=-1.4),
        error("bold", "a", "l1_l2", "left", 4.0, error_slices=1.6, side_right=False),
        error("bold", "a", "l2_l3", "left", 30.0, level_shift=1),
        error("bold", "a", "l3_l4", "left", 30.0, level_shift=1),
        error("bold", "b", "l1_l2", "right", 8.0, error_slices=0.5),
    ]
)


def rows(**options: dict) -> dict[tuple[str, str], pd.Series]:
    table = compare_detectors(ERRORS, LANDMARKS, **options)
    assert set(table["condition"]) == {FORAMINAL}
    return {(row["anatomy"], row["detector"]): row for _, row in table.iterrows()}


def test_all_are_measured_on_the_points_that_all_found() -> None:
    found = rows()
    assert list(found) == [("all", "bold"), ("all", "careful")]
    bold, careful = found.values()
    assert (bold["coverage"], careful["coverage"]) == (1.0, 0.5)
    # Two points were found by both; the two that lie a level too low are the bold one's alone.
    assert bold["points"] == careful["points"] == 2 and bold["studies"] == 2
    assert (bold["median_mm"], careful["median_mm"]) == (6.0, 4.0)
    assert (bold["median_in_plane_mm"], bold["median_in_plane_px"]) == (3.0, 6.0)
    assert (bold["within_6_mm"], careful["within_6_mm"]) == (0.5, 1.0)
    assert (bold["slice_exact"], bold["slice_within_1"]) == (0.0, 0.5)
    assert (careful["slice_exact"], careful["slice_within_1"]) == (0.5, 1.0)
    assert (bold["side_right"], careful["side_right"]) == (0.5, 1.0)
    assert bold["shifted_points"] == bold["shifted_studies"] == 0


def test_kinds_of_anatomy_apart() -> None:
    found = rows(anatomy={"a": "lumbarised", "b": "typical"})
    both = ("bold", "careful")
    assert list(found)[2:] == [(k, name) for k in ("typical", "lumbarised") for name in both]
    assert found["typical", "bold"]["median_mm"] == 8 and found["typical", "bold"]["annotated"] == 1
    assert found["lumbarised", "careful"]["coverage"] == 1 / 3


def test_a_shift_counts_by_point_and_by_study() -> None:
    table = compare_detectors(ERRORS[ERRORS["detector"] == "bold"], LANDMARKS)
    (row,) = table.to_dict("records")
    assert (row["points"], row["shifted_points"], row["shifted_studies"]) == (4, 0.5, 0.5)
