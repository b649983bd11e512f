"""Errors of points by hand, and one measure under one name for all who tell it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from spinegrade.grade.volumes import points as volumes
from spinegrade.localise.heatmap.measure import summary
from spinegrade.metrics.points import point_errors, point_figures
from spinegrade.regions.lumbar_mri import FORAMINAL
from spinegrade.report.detectors import compare_detectors

# Columns 2 mm to the back, rows 3 mm down, slices 5 mm to the left.
AFFINE = np.array([[0, 0, 5.0, 0], [2.0, 0, 0, 0], [0, -3.0, 0, 0], [0, 0, 0, 1]])
AFFINES = {("s", "1", 0): AFFINE}


def points(*rows: tuple[str, str, float, float, float]) -> pd.DataFrame:
    """Foraminal points (level, side, x_px, y_px, slice) of one stack, annotated or found."""
    table = pd.DataFrame(rows, columns=["level", "side", "x_px", "y_px", "slice"])
    mm = table[["x_px", "y_px", "slice"]].to_numpy(float) @ AFFINE[:3, :3].T
    table[["x_mm", "y_mm", "z_mm"]] = mm
    return table.assign(
        study="s",
        series="1",
        stack=0,
        condition=FORAMINAL,
        index=table["slice"].round().astype("Int64"),
        confidence=0.5,
    )


KNOWN = points(
    ("l1_l2", "left", 10, 10, 8),
    ("l2_l3", "left", 10, 20, 8),
    ("l1_l2", "right", 10, 10, 2),
    ("l2_l3", "right", 10, 20, 2),
)


def test_errors_by_hand() -> None:
    found = points(
        ("l1_l2", "left", 11, 10, 8),  # 2 mm to the back
        ("l2_l3", "left", 10, 12, 4),  # 24 mm up and 20 mm to the right, nearer to both others
        ("l1_l2", "right", 10, 12, 2),  # 6 mm down
        ("l3_l4", "left", 10, 30, 8),  # nothing is known there
    )
    errors = point_errors(found, KNOWN, AFFINES)
    assert errors["error_mm"].to_numpy() == pytest.approx([2, np.hypot(24, 20), 6])
    assert errors["error_in_plane_px"].to_numpy() == pytest.approx([1, 8, 2])
    assert errors["error_in_plane_mm"].to_numpy() == pytest.approx([2, 24, 6])
    assert errors["error_slices"].tolist() == [0, -4, 0]
    assert errors["level_shift"].tolist() == [0, -1, 0]
    assert errors["side_right"].tolist() == [True, False, True]
    figures = point_figures(errors)
    assert figures["within_6_mm"] == figures["slice_within_1"] == pytest.approx(2 / 3)
    shares = (figures["side_right"], figures["level_shift_points"])
    assert shares == pytest.approx((2 / 3, 1 / 3))
    assert figures["level_shift_studies"] == 1.0 and figures["points"] == 3


def test_a_point_without_an_other_side_is_on_no_side() -> None:
    errors = point_errors(points(("l1_l2", "left", 10, 10, 8)), KNOWN[:2], AFFINES)
    assert errors["side_right"].isna().all() and point_figures(errors)["side_right"] is None
    assert point_figures(errors[:0]) == dict.fromkeys(point_figures(errors)) | {
        "points": 0,
        "studies": 0,
    }


def test_the_first_of_two_points_of_a_cell_counts() -> None:
    twice = pd.concat([KNOWN, points(("l1_l2", "left", 50, 10, 8))], ignore_index=True)
    (error,) = point_errors(points(("l1_l2", "left", 10, 10, 8)), twice, AFFINES)["error_mm"]
    assert error == 0


@pytest.mark.parametrize("slices", [0.0, -1.0, 1.0, 1.4, -1.4, 1.6, 2.0])
def test_slice_within_1_is_one_measure_whoever_tells_it(slices: float) -> None:
    found = points(("l1_l2", "left", 10, 10, 8)).assign(detector="one")
    errors = point_errors(found, KNOWN, AFFINES).assign(error_slices=slices)
    of_volumes = errors.assign(
        error_x_px=0.0, error_y_px=0.0, other_side=0.0, drift_slices=0.0, anatomy="typical"
    )
    side_by_side = compare_detectors(errors, KNOWN)
    expected = float(abs(slices) < 1.5)
    told = {
        "all": point_figures(errors)["slice_within_1"],
        "localiser": summary(errors)["slice_within_1"],
        "grader": volumes.point_figures(of_volumes)["slice_within_1"],
        "report": side_by_side["slice_within_1"].iloc[0],
    }
    assert told == dict.fromkeys(told, expected)
