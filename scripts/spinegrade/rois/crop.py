"""One crop: where its pixels lie in patient space, and their values."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinegrade.geometry.affine import Affine, normal, to_mm
from spinegrade.rois.settings import RoiSet
from spinegrade.volumes import Stack, resample_grid

# In LPS: where a crop's x and y grow. Sagittal: to the back, to the feet. Axial: to the
# patient's left, to the back. So crops look alike however a scanner stored its rows.
CROP_AXES = {
    "sagittal": (np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])),
    "axial": (np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])),
}


def in_plane_steps(stack: Stack) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The stack's own pixel steps (3,) in mm, ordered and signed as crop x and crop y.

    Of the stack's columns and rows, exchanged or not, that pair is taken which agrees best
    with ``CROP_AXES`` of its plane; a crop is never rotated against the pixels.
    """
    steps = stack.affine[:3, 0], stack.affine[:3, 1]
    wanted = CROP_AXES[stack.plane]

    def agreement(pair: tuple[NDArray[np.float64], ...]) -> float:
        return sum(
            abs(step @ axis) / np.linalg.norm(step) for step, axis in zip(pair, wanted, strict=True)
        )

    best = max(permutations(steps), key=agreement)
    x, y = (step if step @ axis >= 0 else -step for step, axis in zip(best, wanted, strict=True))
    return x, y


def crop_affine(roi_set: RoiSet, stack: Stack, centre: ArrayLike) -> Affine:
    """Affine of a stored crop: its (x_px, y_px, slice) in rois.npy to LPS mm.

    ``centre`` (3,) is (x_px, y_px, index) in the stack; it falls on the middle of the stored
    array, ((width - 1) / 2, (height - 1) / 2, (slices - 1) / 2), margins included. The slice
    axis runs as the stack's index.
    """
    x_step, y_step = in_plane_steps(stack)
    plane = roi_set.in_plane
    if plane.unit == "mm":
        spacing_mm = plane.size / plane.output_px
        x_step = x_step / np.linalg.norm(x_step) * spacing_mm
        y_step = y_step / np.linalg.norm(y_step) * spacing_mm
    else:
        x_step, y_step = (step * plane.size / plane.output_px for step in (x_step, y_step))
    slice_step = stack.affine[:3, 2]
    if roi_set.slices.spacing_mm is not None:
        slice_step = normal(stack.affine) * roi_set.slices.spacing_mm
    affine = np.eye(4)
    affine[:3, :3] = np.stack([x_step, y_step, slice_step], axis=1)
    middle = (np.array(roi_set.stored_shape[::-1]) - 1) / 2
    affine[:3, 3] = to_mm(stack.affine, [centre])[0] - affine[:3, :3] @ middle
    return affine


def crop_pixels(
    roi_set: RoiSet, stack: Stack, volume: NDArray[np.generic], affine: Affine
) -> NDArray[np.uint8]:
    """The crop's values, uint8 (slices, height, width), by the stack's intensity window.

    One trilinear interpolation of ``volume``. Crop pixels larger than one and a half of the
    stack's are averages over a finer grid, so that fine noise does not alias. Beyond the
    image's edge it is 0; beyond the first and last slice, that slice again.
    """
    shape = roi_set.stored_shape
    steps = in_plane_steps(stack)
    finer = [
        max(1, int(np.ceil(np.linalg.norm(affine[:3, axis]) / np.linalg.norm(steps[axis]) - 0.5)))
        for axis in range(2)
    ]
    grid = affine.copy()
    for axis, parts in enumerate(finer):
        grid[:3, axis] = affine[:3, axis] / parts
        grid[:3, 3] -= grid[:3, axis] * (parts - 1) / 2
    fine_shape = (shape[0], shape[1] * finer[1], shape[2] * finer[0])
    values = resample_grid(volume, stack.affine, grid, fine_shape, fill=None)
    values = values.reshape(shape[0], shape[1], finer[1], shape[2], finer[0]).mean(axis=(2, 4))
    pixels = stack.window(values)
    pixels[:, _outside(stack, affine, shape)] = 0
    return pixels


def _outside(stack: Stack, affine: Affine, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Which pixels (height, width) of a crop lie more than half a pixel outside the image."""
    to_stack = np.linalg.solve(stack.affine, affine)
    ys, xs = np.mgrid[: shape[1], : shape[2]]
    columns, rows = (
        to_stack[axis, 0] * xs
        + to_stack[axis, 1] * ys
        + to_stack[axis, 2] * (shape[0] - 1) / 2
        + to_stack[axis, 3]
        for axis in range(2)
    )
    return (
        (columns < -0.5) | (rows < -0.5) | (columns > stack.cols - 0.5) | (rows > stack.rows - 0.5)
    )
