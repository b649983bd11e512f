"""Points of patient space seen from stacks: nearest slices and nearest stacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from spinegrade.geometry.affine import Affine, affine_from_dicom, to_mm
from spinegrade.geometry.planes import nearest_slice, nearest_stack


@dataclass(frozen=True)
class Planes:
    affine: Affine
    slices: int = 5
    rows: int = 100
    cols: int = 80


def axial(z: float, tilt_degrees: float = 0.0, **size: int) -> Planes:
    """Slices 4 mm apart from ``z`` upward, 0.5 mm pixels, first pixel at x = -20, y = -25."""
    angle = np.radians(tilt_degrees)
    columns = [0.0, np.cos(angle), np.sin(angle)]
    step = 4 * np.array([0.0, -np.sin(angle), np.cos(angle)])
    return Planes(affine_from_dicom([1, 0, 0, *columns], [0.5, 0.5], [-20, -25, z], step), **size)


def test_projection_by_hand() -> None:
    stack = axial(100.0)
    seen = nearest_slice(stack.affine, 5, [[-10, 0, 109.0], [0, 5, 90.0], [0, 5, 200.0]])
    assert seen.index.tolist() == [2, 0, 4]  # 108 is nearest to 109; the ends hold beyond
    np.testing.assert_allclose(seen.distance_mm, [1, 10, 84])
    np.testing.assert_allclose(seen.x_px, [20, 40, 40])
    np.testing.assert_allclose(seen.y_px, [50, 60, 60])


def test_a_point_midway_takes_the_lower_slice() -> None:
    assert nearest_slice(axial(0.0).affine, 5, [[0, 0, 6.0]]).index.tolist() == [1]


def test_pixels_go_to_mm_and_back() -> None:
    stack = axial(30.0, tilt_degrees=25.0)
    generator = np.random.default_rng(0)
    points = np.column_stack(
        [generator.uniform(0, 79, 50), generator.uniform(0, 99, 50), generator.integers(0, 5, 50)]
    )
    seen = nearest_slice(stack.affine, 5, to_mm(stack.affine, points))
    np.testing.assert_array_equal(seen.index, points[:, 2])
    np.testing.assert_allclose(seen.distance_mm, 0, atol=1e-9)
    np.testing.assert_allclose(np.column_stack([seen.x_px, seen.y_px]), points[:, :2], atol=1e-6)


def test_sheared_stacks_are_projected_along_their_normal() -> None:
    # Slices 4 mm apart, each shifted 2 mm to the back: a tilted gantry.
    affine = affine_from_dicom([1, 0, 0, 0, 1, 0], [1, 1], [0, 0, 0], [0, 2, 4])
    seen = nearest_slice(affine, 5, [[10, 20, 9.0]])
    assert seen.index.tolist() == [2]
    np.testing.assert_allclose(seen.distance_mm, [1])
    np.testing.assert_allclose([seen.x_px[0], seen.y_px[0]], [10, 16])


def test_one_slice() -> None:
    seen = nearest_slice(axial(50.0).affine, 1, [[-20, -25, 53.0]])
    assert (seen.index[0], seen.distance_mm[0]) == (0, pytest.approx(3.0))


def test_the_stack_whose_slice_passes_nearest_wins() -> None:
    stacks = [axial(0.0), axial(21.0), axial(100.0)]
    found = nearest_stack(stacks, [0, 0, 22.5])
    assert found is not None
    assert (found.stack, found.index, found.distance_mm) == (1, 0, pytest.approx(1.5))


def test_a_stack_that_does_not_show_the_point_does_not_compete() -> None:
    narrow = axial(22.0, cols=10)  # ends 15.5 mm right of the middle
    found = nearest_stack([narrow, axial(24.5)], [0, 0, 22.5])
    assert found is not None and found.stack == 1
    assert nearest_stack([narrow], [0, 0, 22.5]) is None
    assert nearest_stack([axial(24.5)], [0, 0, 0.0], max_distance_mm=10) is None


def test_ties_go_to_the_surer_then_to_the_earlier() -> None:
    stacks = [axial(10.0), axial(10.0), axial(10.0)]
    assert nearest_stack(stacks, [0, 0, 11.0]).stack == 0
    assert nearest_stack(stacks, [0, 0, 11.0], confidences=[0.2, 0.9, 0.9]).stack == 1
