"""Shear of an affine, and the nearest affine of perpendicular axes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from spinegrade.geometry.affine import to_mm
from spinegrade.geometry.rigid import (
    axes_shear_degrees,
    corner_voxels,
    corners_apart_mm,
    nearest_rigid,
)

TURN = Rotation.from_euler("xyz", [14, 8, 3], degrees=True).as_matrix()
STEPS = np.diag([0.6, 0.8, 4.0])


def affine_of(axes: np.ndarray) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = 30, -20, 10
    return affine


def sheared(off_normal: float = 0.0, skew: float = 0.0, mirrored: bool = False) -> np.ndarray:
    """Slices shifted off their normal along the columns, rows leaning to columns; degrees."""
    off, lean = np.radians([off_normal, skew])
    axes = np.array([[1, np.sin(lean), 0], [0, np.cos(lean), np.sin(off)], [0, 0, np.cos(off)]])
    flip = np.diag([1.0, 1.0, -1.0 if mirrored else 1.0])
    return affine_of(TURN @ axes @ flip @ STEPS)


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 0.0057, 0.3, 1.0, 40.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_shear_is_the_angle_off_the_normal_or_of_rows_and_columns(
    degrees: float, mirrored: bool
) -> None:
    for affine in (sheared(degrees, 0, mirrored), sheared(0, degrees, mirrored)):
        assert axes_shear_degrees(affine) == pytest.approx(degrees, abs=1e-9)


@pytest.mark.parametrize("shape", [(30, 256, 256), (5, 512, 384), (120, 64, 64), (1, 64, 64)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_nearest_rigid_affine(shape: tuple[int, int, int], mirrored: bool) -> None:
    affine = sheared(0.4, 0.1, mirrored)
    rigid = nearest_rigid(affine, shape)
    axes = rigid[:3, :3]
    np.testing.assert_allclose(axes.T @ axes, STEPS**2, atol=1e-9)
    assert np.sign(np.linalg.det(axes)) == (-1 if mirrored else 1)
    middle = (np.array(shape[::-1]) - 1) / 2
    np.testing.assert_allclose(to_mm(rigid, [middle]), to_mm(affine, [middle]), atol=1e-9)
    # No other turn about the centre, however small, brings the corners nearer.
    corners = corner_voxels(shape)
    least = np.sum((to_mm(rigid, corners) - to_mm(affine, corners)) ** 2)
    centre = to_mm(rigid, [middle])[0]
    for axis, angle in itertools.product(np.eye(3), (1e-4, -1e-4)):
        turn = Rotation.from_rotvec(axis * angle).as_matrix()
        other = (to_mm(rigid, corners) - centre) @ turn.T + centre
        assert np.sum((other - to_mm(affine, corners)) ** 2) > least


def test_how_far_a_corner_moves_by_hand() -> None:
    # A shear of a shares itself out between the slices' turn and the line through them. Seen from
    # the centre, half of the extent across being h and along k, a corner stays off by
    # a h k / sqrt(h^2 + k^2).
    shape = (30, 256, 200)
    across, along = 255 * 0.8 / 2, 29 * 4.0 / 2
    expected = np.radians(0.2) * across * along / np.hypot(across, along)
    affine = sheared(0.2)
    apart = corners_apart_mm(affine, nearest_rigid(affine, shape), shape)
    assert apart == pytest.approx(expected, rel=1e-3)


def test_an_affine_without_shear_stays() -> None:
    affine = sheared()
    np.testing.assert_allclose(nearest_rigid(affine, (9, 20, 30)), affine, atol=1e-12)
