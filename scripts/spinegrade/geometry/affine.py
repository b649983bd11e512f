"""Affines between pixels and patient space.

An affine here is a (4, 4) float64 matrix that maps homogeneous (x_px, y_px, index, 1) of a
stack to (x_mm, y_mm, z_mm, 1) in DICOM's LPS frame: +x to the patient's left, +y to the
back, +z to the head. Arrays are (index, y, x); integer pixels are pixel centres.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Affine = NDArray[np.float64]
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
AFFINE_COLUMNS = tuple(f"affine_{row}{column}" for row in range(3) for column in range(4))


def affine_from_dicom(
    orientation: ArrayLike, pixel_spacing_mm: ArrayLike, first_mm: ArrayLike, step_mm: ArrayLike
) -> Affine:
    """Affine of a stack from DICOM's plane attributes (PS3.3 C.7.6.2.1.1).

    ``orientation`` (6,): ImageOrientationPatient, the direction in which columns grow along
    a row, then rows along a column. ``pixel_spacing_mm`` (2,): between rows, then between
    columns. ``first_mm`` (3,): ImagePositionPatient of index 0. ``step_mm`` (3,): from the
    position of one index to the next.
    """
    direction = np.asarray(orientation, float)
    between_rows, between_columns = np.asarray(pixel_spacing_mm, float)
    affine = np.eye(4)
    affine[:3, 0] = direction[:3] * between_columns
    affine[:3, 1] = direction[3:] * between_rows
    affine[:3, 2] = step_mm
    affine[:3, 3] = first_mm
    return affine


def to_mm(affine: Affine, points: ArrayLike) -> NDArray[np.float64]:
    """(n, 3) points (x_px, y_px, index) of a stack to (n, 3) LPS mm."""
    points = np.asarray(points, float)
    return points @ affine[:3, :3].T + affine[:3, 3]


def to_pixels(affine: Affine, points_mm: ArrayLike) -> NDArray[np.float64]:
    """(n, 3) LPS mm to (n, 3) fractional (x_px, y_px, index) of a stack."""
    offsets = np.asarray(points_mm, float) - affine[:3, 3]
    return np.linalg.solve(affine[:3, :3], offsets.T).T


def normal(affine: Affine) -> NDArray[np.float64]:
    """Unit vector perpendicular to the slices, pointing where the index grows."""
    cross = np.cross(affine[:3, 0], affine[:3, 1])
    cross /= np.linalg.norm(cross)
    return cross if cross @ affine[:3, 2] >= 0 else -cross


def to_ras(affine: Affine) -> Affine:
    """The same affine in NIfTI's RAS frame."""
    return LPS_TO_RAS @ affine


def affine_to_columns(affine: Affine) -> dict[str, float]:
    """The first three rows of ``affine`` as the table columns affine_00 .. affine_23."""
    return {
        name: float(value) for name, value in zip(AFFINE_COLUMNS, affine[:3].ravel(), strict=True)
    }


def affine_from_columns(row: Mapping[str, Any]) -> Affine:
    """Inverse of ``affine_to_columns``, from a table row (a Series, dict or named tuple's dict)."""
    affine = np.eye(4)
    affine[:3] = np.array([row[name] for name in AFFINE_COLUMNS], float).reshape(3, 4)
    return affine
