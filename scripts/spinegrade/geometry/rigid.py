"""What a rigid turn can say of an affine: its shear, and the nearest affine without any."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from spinegrade.geometry.affine import Affine, to_mm

# Below this the axes are perpendicular as far as single precision can tell.
_RIGID_DEGREES = 1e-7


def axes_shear_degrees(affine: Affine) -> float:
    """How far the axes of an affine (4, 4) are from right angles, in degrees.

    The greater of two angles: between the step from slice to slice and the slices' normal, and
    of the rows with the columns beyond 90 degrees.
    """
    # In plain numbers, as this is asked of every volume.
    rows, columns, step = affine[:3, :3].T.tolist()
    normal = _cross(rows, columns)
    # By sines: a cosine loses the digits of a small angle.
    aside = _cross(step, normal)
    off_normal = math.atan2(math.hypot(*aside), abs(_dot(step, normal)))
    leaning = _dot(rows, columns) / (math.hypot(*rows) * math.hypot(*columns))
    return math.degrees(max(off_normal, math.asin(min(abs(leaning), 1.0))))


def _dot(a: list[float], b: list[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: list[float], b: list[float]) -> list[float]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def nearest_rigid(affine: Affine, shape: tuple[int, ...]) -> Affine:
    """The affine (4, 4) of perpendicular axes whose corner voxels lie nearest to ``affine``'s.

    ``shape``: slices, rows, columns. Voxel sizes, handedness and the centre of the volume stay.
    Nearest: the sum over the corners of squared distances is least (a polar decomposition).
    """
    if axes_shear_degrees(affine) < _RIGID_DEGREES:
        return affine
    axes = affine[:3, :3]
    sizes = np.diag(np.linalg.norm(axes, axis=0))
    # Corners lie at every combination of signs of half the extent; seen from the centre their
    # squares sum up axis by axis. An axis of one voxel counts a little, or it were free.
    extent = np.diag(np.maximum(np.array(shape[::-1]) - 1, 0.01) / 2)
    left, _, right = np.linalg.svd(axes @ extent**2 @ sizes)
    handed = np.sign(np.linalg.det(axes) * np.linalg.det(left @ right))
    rigid = np.eye(4)
    rigid[:3, :3] = left @ np.diag([1.0, 1.0, handed]) @ right @ sizes
    centre = (np.array(shape[::-1]) - 1) / 2
    rigid[:3, 3] = affine[:3, 3] + (axes - rigid[:3, :3]) @ centre
    return rigid


def corners_apart_mm(first: Affine, second: Affine, shape: tuple[int, ...]) -> float:
    """The greatest distance between what two affines make of a corner voxel of ``shape``."""
    corners = corner_voxels(shape)
    return float(np.linalg.norm(to_mm(first, corners) - to_mm(second, corners), axis=1).max())


def corner_voxels(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The eight corner voxels (8, 3) as (x, y, index) of (slices, rows, columns)."""
    return np.array(list(itertools.product(*((0.0, size - 1.0) for size in shape[::-1]))))
