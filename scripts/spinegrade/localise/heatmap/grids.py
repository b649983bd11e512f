"""Stacks brought to the fixed millimetre grids that detectors look at.

A grid is a uint8 array (slices, rows, cols) of windowed intensities with an affine from its
own (x, y, slice) to LPS mm. Its in-plane axes follow the patient, whatever way the scanner
wrote them: sagittal grids grow to the back and to the feet, axial ones to the left and to
the back. Slices grow as the stack's index does.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinegrade.geometry.affine import Affine
from spinegrade.geometry.in_plane import turn_to_patient
from spinegrade.volumes import Stack


class Grid(NamedTuple):
    """``array`` uint8 (slices, rows, cols); ``to_pixels`` and ``to_mm`` (4, 4) affines.

    They map the grid's (x, y, slice) to the stack's (x_px, y_px, index) and to LPS mm.
    """

    array: NDArray[np.uint8]
    to_pixels: Affine
    to_mm: Affine


def area_resampled(stack: Stack, indices: ArrayLike, pixel_mm: float) -> Grid:
    """The slices ``indices`` windowed, turned to the plane's axes, at nearly ``pixel_mm``.

    Pixels are averaged over their area, which a linear interpolation of so coarse a grid
    would not do. The pixel size is the nearest that divides the image evenly; ``to_mm`` says it
    exactly. ``indices`` (n,) whole numbers are repeated or left out as given; the grid's slice
    axis is their place in the sequence, so ``to_mm`` is meaningful across slices only where
    they follow each other.
    """
    indices = np.asarray(indices, np.int64)
    spacing = np.linalg.norm(stack.affine[:3, :2], axis=0)
    cols = max(1, round(stack.cols * spacing[0] / pixel_mm))
    rows = max(1, round(stack.rows * spacing[1] / pixel_mm))
    slices = stack.window(stack.open()[indices])
    array = np.stack([cv2.resize(s, (cols, rows), interpolation=cv2.INTER_AREA) for s in slices])
    to_pixels = np.eye(4)
    to_pixels[0, 0], to_pixels[1, 1] = stack.cols / cols, stack.rows / rows
    to_pixels[:2, 3] = np.diag(to_pixels)[:2] / 2 - 0.5
    to_pixels[2, 3] = indices[0] if len(indices) else 0
    turn = turn_to_patient(to_pixels, stack.affine, stack.plane, (rows, cols))
    return Grid(turn.apply(array), turn.to_pixels, stack.affine @ turn.to_pixels)


def cropped(grid: Grid, first: tuple[int, int], shape: tuple[int, int]) -> Grid:
    """Rows and columns of ``grid`` from ``first`` (row, column) on, zeros outside it.

    ``first`` may be negative and ``shape`` (rows, cols) may reach beyond the grid.
    """
    out = np.zeros((len(grid.array), *shape), np.uint8)
    spans = []
    for start, length, size in zip(first, shape, grid.array.shape[1:], strict=True):
        low, high = max(start, 0), min(start + length, size)
        spans.append((slice(low, max(high, low)), slice(low - start, max(high, low) - start)))
    (rows, out_rows), (cols, out_cols) = spans
    out[:, out_rows, out_cols] = grid.array[:, rows, cols]
    shift = np.eye(4)
    shift[:2, 3] = first[1], first[0]
    return Grid(out, grid.to_pixels @ shift, grid.to_mm @ shift)


def slice_weights(count: int, position: NDArray[np.float64]) -> NDArray[np.float32]:
    """Linear interpolation along ``count`` slices as a matrix (len(position), count).

    Row k samples the fractional slice ``position[k]``; beyond half a slice outside the stack it
    is zero.
    """
    # A grid may end at half a slice exactly: both ends of a symmetric one must agree.
    inside = (position > -0.5 - 1e-6) & (position < count - 0.5 + 1e-6)
    clipped = np.clip(position, 0, count - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(clipped[:, None] - np.arange(count)))
    return (weights * inside[:, None]).astype(np.float32)


def sagittal_grid(
    stack: Stack, shape: tuple[int, int, int], pixel_mm: float, slice_mm: float
) -> Grid:
    """The whole stack on a grid of ``shape`` (slices, rows, cols) around its centre.

    In-plane pixels are nearly ``pixel_mm``, slices ``slice_mm`` apart, interpolated linearly
    between the stack's own; zeros outside the stack.
    """
    whole = area_resampled(stack, np.arange(stack.slices), pixel_mm)
    rows, cols = whole.array.shape[1:]
    flat = cropped(whole, ((rows - shape[1]) // 2, (cols - shape[2]) // 2), shape[1:])
    step = slice_mm / float(np.linalg.norm(stack.affine[:3, 2]))
    across = np.eye(4)
    across[2, 2] = step
    across[2, 3] = (stack.slices - 1) / 2 - step * (shape[0] - 1) / 2
    position = across[2, 2] * np.arange(shape[0]) + across[2, 3]
    weights = slice_weights(stack.slices, position)
    mixed = np.tensordot(weights, flat.array.astype(np.float32), axes=1)
    array = np.rint(mixed).astype(np.uint8)
    return Grid(array, flat.to_pixels @ across, flat.to_mm @ across)


def axial_crop(
    stack: Stack,
    index: int,
    centre_px: tuple[float, float],
    shape: tuple[int, int, int],
    pixel_mm: float,
) -> Grid:
    """Slices around ``index`` cropped to ``shape`` (slices, rows, cols) around a point.

    ``centre_px`` is (x_px, y_px) in the slice. ``shape[0]`` is odd: the slice and its neighbours,
    the end slice repeated beyond an end. The grid's slice 0 stands for ``index`` in
    ``to_pixels`` and ``to_mm``, since the points looked for lie in that slice.
    """
    reach = shape[0] // 2
    indices = np.clip(np.arange(index - reach, index + reach + 1), 0, stack.slices - 1)
    grid = area_resampled(stack, indices, pixel_mm)
    grid.to_pixels[2, 3] = index
    grid = grid._replace(to_mm=stack.affine @ grid.to_pixels)
    x, y = np.linalg.solve(grid.to_pixels, [*centre_px, index, 1.0])[:2]
    first = (round(y - (shape[1] - 1) / 2), round(x - (shape[2] - 1) / 2))
    return cropped(grid, first, shape[1:])
