"""Grouping and cutting of slices by where they lie."""

from __future__ import annotations

import numpy as np
import pytest
from spinegrade.geometry.stacks import (
    check_orientation,
    group_orientations,
    growing_normal,
    positions_by_height,
    shear_degrees,
    split_runs,
    tilt_degrees,
)

UP = np.array([0.0, 0.0, 1.0])


def runs_of(heights: list[float], tolerance: float = 0.1) -> list[int]:
    positions = np.outer(heights, UP)
    runs, cuts = split_runs(positions, UP, tolerance, 20.0)
    assert len(cuts) == len(runs) - 1
    assert [place for run in runs for place in run] == list(range(len(heights)))
    return [len(run) for run in runs]


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ([0, 4, 8, 12], [4]),
        ([0], [1]),
        ([0, 4], [2]),
        ([0, 50], [1, 1]),  # farther apart than one stack's slices may be
        ([0, 4, 8, 16, 20], [3, 2]),  # one slice missing
        ([0, 4, 8, 14, 18, 22], [3, 3]),  # two parallel stacks
        ([0, 9, 13, 17], [1, 3]),
        ([0, 4, 8, 12, 19, 26, 33], [4, 3]),  # a block of another spacing
        ([0, 3, 7, 12, 18, 25], [2, 2, 2]),  # nothing even: too short to be kept
    ],
)
def test_runs(heights: list[float], expected: list[int]) -> None:
    assert runs_of(heights) == expected


def test_tolerance_is_on_the_positions_not_on_the_steps() -> None:
    assert runs_of([0, 4.05, 8.0, 12.1]) == [4]
    # A step of 4.2 beside steps of 4: no position lies more than 0.05 mm off a line of 4.1.
    assert runs_of([0, 4.0, 8.2, 12.2]) == [4]
    # One of 4.6: they lie 0.15 off the nearest line, of 4.3.
    assert runs_of([0, 4.0, 8.6, 12.6]) == [2, 2]
    # Steps that grow by 0.06 each stay near their neighbours and leave the line all the same.
    assert runs_of(np.cumsum(4 + 0.06 * np.arange(16)).tolist()) != [16]


def test_a_sideways_jump_cuts_too() -> None:
    positions = np.outer([0.0, 4, 8, 12], UP)
    positions[2:, 0] += 1.3
    runs, cuts = split_runs(positions, UP, 0.1, 20.0)
    assert [len(run) for run in runs] == [2, 2]
    assert cuts[0].found_mm == cuts[0].expected_mm == 4.0


def test_orientations_within_tolerance_are_one_group_whatever_their_order() -> None:
    angles = np.radians([0.0, 0.04, 0.08, 0.7, 10.0])
    zero = np.zeros(5)
    orientations = np.column_stack([zero + 1, zero, zero, zero, np.cos(angles), np.sin(angles)])
    groups = group_orientations(orientations, 0.05)
    assert groups[0] == groups[1] == groups[2]  # chained
    assert len({groups[0], groups[3], groups[4]}) == 3
    reordered = group_orientations(orientations[::-1], 0.05)[::-1]
    np.testing.assert_array_equal(groups, reordered)


def test_flipped_axes_are_another_orientation() -> None:
    orientations = np.array([[1.0, 0, 0, 0, 1, 0], [-1.0, 0, 0, 0, -1, 0]])
    assert len(set(group_orientations(orientations, 0.05))) == 2


def test_the_index_grows_left_or_up_whatever_the_sign() -> None:
    assert growing_normal(np.array([0.0, 1, 0, 0, 0, -1]), "sagittal")[0] == 1
    assert growing_normal(np.array([0.0, -1, 0, 0, 0, -1]), "sagittal")[0] == 1
    assert growing_normal(np.array([1.0, 0, 0, 0, -1, 0]), "axial")[2] == 1
    steep = np.array([1.0, 0, 0, 0, np.cos(0.9), np.sin(0.9)])  # 51.6 degrees from axial
    assert growing_normal(steep, "axial")[2] > 0
    assert growing_normal(steep, None)[1] > 0  # its nearest axis is front to back
    assert tilt_degrees(steep, "axial") == pytest.approx(np.degrees(0.9))


def test_positions_and_steps() -> None:
    groups = positions_by_height(np.array([4.0, 0.0, 4.005, 8.0]), 0.01)
    assert [sorted(group.tolist()) for group in groups] == [[1], [0, 2], [3]]
    assert shear_degrees(np.array([0, 1.0, 4.0]), UP) == pytest.approx(np.degrees(np.arctan(0.25)))


@pytest.mark.parametrize("bad", [[1, 0, 0, 1, 0, 0], [2, 0, 0, 0, 1, 0], [0] * 6])
def test_bad_orientations_are_named(bad: list[float]) -> None:
    assert "unit vectors" in check_orientation(bad)
    assert check_orientation([1, 0, 0, 0, 1, 0]) == ""
