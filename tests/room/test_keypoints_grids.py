"""Grids show every stack the same way round, at known places in the patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from keypoint_helpers import affine_of, write_stack
from spinegrade.geometry.affine import to_mm, to_pixels
from spinegrade.localise.heatmap.grids import axial_crop, sagittal_grid, slice_weights


def bright_place(array: np.ndarray) -> np.ndarray:
    """(x, y, slice) of the mass of (slices, rows, cols)."""
    z, y, x = np.nonzero(array)
    mass = array[z, y, x].astype(float)
    return np.array([(axis * mass).sum() for axis in (x, y, z)]) / mass.sum()


@pytest.mark.parametrize("turn", ["usual", "flipped", "transposed"])
def test_a_sagittal_grid_grows_to_the_back_and_to_the_feet(tmp_path: Path, turn: str) -> None:
    back, feet = np.array([0, 1.0, 0]), np.array([0, 0, -1.0])
    axes = {"usual": (back, feet), "flipped": (-back, -feet), "transposed": (feet, back)}[turn]
    affine = affine_of(
        axes[0] * 0.5, axes[1] * 0.5, np.array([4.0, 0, 0]), np.array([-10, 7, 90.0])
    )
    volume = np.zeros((6, 120, 120), np.int16)
    volume[2:4, 40:44, 60:64] = 200
    stack = write_stack(tmp_path, volume, affine)
    grid = sagittal_grid(stack, (8, 32, 48), pixel_mm=2.0, slice_mm=2.0)
    assert grid.array.shape == (8, 32, 48) and grid.array.dtype == np.uint8
    unit = np.linalg.norm(grid.to_mm[:3, :3], axis=0)
    np.testing.assert_allclose(unit, [2, 2, 2])
    np.testing.assert_allclose(grid.to_mm[:3, 0] / 2, back, atol=1e-9)
    np.testing.assert_allclose(grid.to_mm[:3, 1] / 2, feet, atol=1e-9)
    place = bright_place(grid.array)
    np.testing.assert_allclose(to_mm(grid.to_pixels, [place])[0], [61.5, 41.5, 2.5], atol=0.05)
    true_mm = to_mm(affine, [[61.5, 41.5, 2.5]])[0]
    np.testing.assert_allclose(to_mm(grid.to_mm, [place])[0], true_mm, atol=0.05)


def test_a_stack_smaller_than_the_grid_is_padded_with_zeros(tmp_path: Path) -> None:
    affine = affine_of([0, 1, 0], [0, 0, -1], [4, 0, 0], [0, 0, 0])
    stack = write_stack(tmp_path, np.full((3, 20, 20), 255, np.int16), affine)
    grid = sagittal_grid(stack, (8, 32, 32), pixel_mm=2.0, slice_mm=4.0)
    inside = grid.array > 0
    assert inside.any(axis=(1, 2)).sum() == 4  # at -0.5, 0.5, 1.5 and 2.5 of the stack
    assert inside.any(axis=(0, 2)).sum() == inside.any(axis=(0, 1)).sum() == 10


def test_slices_between_two_are_their_blend_and_none_beyond_the_ends() -> None:
    weights = slice_weights(3, np.array([-0.6, -0.5, 0.25, 2.0, 2.6]))
    expected = [[0, 0, 0], [1, 0, 0], [0.75, 0.25, 0], [0, 0, 1], [0, 0, 0]]
    np.testing.assert_allclose(weights, expected)


def test_an_axial_crop_is_centred_and_repeats_the_end_slice(tmp_path: Path) -> None:
    # Columns run to the right and rows to the front: turned by half a circle.
    affine = affine_of([-0.5, 0, 0], [0, -0.5, 0], [0, 0, 4], [50, 40, -9])
    volume = np.zeros((4, 200, 160), np.int16)
    volume[0, 100:104, 48:52] = 200
    volume[1, 100:104, 48:52] = 100
    stack = write_stack(tmp_path, volume, affine, plane="axial")
    crop = axial_crop(stack, 0, (49.5, 101.5), (3, 32, 32), pixel_mm=2.0)
    assert [int(layer.max()) for layer in crop.array] == [200, 200, 100]
    np.testing.assert_allclose(crop.to_mm[:3, :2], [[2, 0], [0, 2], [0, 0]], atol=1e-9)
    place = bright_place(crop.array[:1])
    np.testing.assert_allclose(place[:2], [15.5, 15.5], atol=0.51)
    np.testing.assert_allclose(to_mm(crop.to_pixels, [[*place[:2], 0]])[0], [49.5, 101.5, 0])
    back = to_pixels(crop.to_mm, to_mm(affine, [[49.5, 101.5, 0]]))[0]
    np.testing.assert_allclose(back, [*place[:2], 0], atol=1e-6)
