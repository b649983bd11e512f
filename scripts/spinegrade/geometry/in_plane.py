"""Slices turned so that their columns and rows follow the patient, however they were written."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinegrade.geometry.affine import Affine

IN_PLANE_AXES = {
    "sagittal": np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]),
    "axial": np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
}
"""Unit LPS vectors along which columns and rows grow: to the back and to the feet on sagittal
slices, to the patient's left and to the back on axial ones."""


class Turn(NamedTuple):
    """Quarter turns and reflections in the plane; ``apply`` does them to an array.

    ``transposed``: rows and columns change places, first; ``flipped``: then the columns (x) and
    the rows (y) are reversed. ``to_pixels`` (4, 4) maps the turned (x, y, slice) to where the
    given ``to_pixels`` led.
    """

    transposed: bool
    flipped: tuple[bool, bool]
    to_pixels: Affine

    def apply(self, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(slices, rows, cols) turned, contiguous; the order of slices stays."""
        if self.transposed:
            array = array.transpose(0, 2, 1)
        axes = [2 - axis for axis in range(2) if self.flipped[axis]]
        return np.ascontiguousarray(np.flip(array, axes))


def turn_to_patient(to_pixels: Affine, affine: Affine, plane: str, shape: tuple[int, int]) -> Turn:
    """The turn by which an image of ``shape`` (rows, cols) comes nearest to ``IN_PLANE_AXES``.

    ``to_pixels`` (4, 4) maps the image's (x, y, slice) to a stack's (x_px, y_px, index), by
    positive scales and shifts alone, and ``affine`` the stack's to LPS mm.
    """
    to_pixels = to_pixels.copy()
    rows, cols = shape
    axes = IN_PLANE_AXES[plane] @ (affine[:3, :2] / np.linalg.norm(affine[:3, :2], axis=0))
    transposed = abs(axes[0, 1]) + abs(axes[1, 0]) > abs(axes[0, 0]) + abs(axes[1, 1])
    if transposed:
        to_pixels, axes, rows, cols = to_pixels[:, [1, 0, 2, 3]], axes[:, ::-1], cols, rows
    flipped = (bool(axes[0, 0] < 0), bool(axes[1, 1] < 0))
    for axis, length in enumerate((cols, rows)):
        if flipped[axis]:
            to_pixels[:, 3] += to_pixels[:, axis] * (length - 1)
            to_pixels[:, axis] *= -1
    return Turn(bool(transposed), flipped, to_pixels)
