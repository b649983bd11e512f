"""One crop: where its pixels lie in patient space, and their values."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinegrade.crop.settings import InPlane, RoiSet
from spinegrade.geometry.affine import Affine, normal, to_mm
from spinegrade.volumes import Stack, resample_grid, window

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


def crop_steps(in_plane: InPlane, stack: Stack) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps (3,) in mm of a crop's pixels along its x and its y."""
    steps = in_plane_steps(stack)
    pixels = [e / n for e, n in zip(in_plane.extent[::-1], in_plane.seen_px[::-1], strict=True)]
    if in_plane.unit == "px":
        return steps[0] * pixels[0], steps[1] * pixels[1]
    units_mm = np.ones(2)
    if in_plane.unit != "mm":
        count = np.abs(np.linalg.solve(stack.affine[:3, :3], np.stack(steps, axis=1)))[:2]
        along = np.array([stack.cols, stack.rows]) @ (count > 0.5)
        units_mm = along * np.linalg.norm(steps, axis=1) / in_plane.frame_px
    if in_plane.unit == "frame":
        units_mm[:] = units_mm.max()
    x_step, y_step = (
        step / np.linalg.norm(step) * number * unit_mm
        for step, number, unit_mm in zip(steps, pixels, units_mm, strict=True)
    )
    return x_step, y_step


def place_crop(
    steps: NDArray[np.float64], stack: Stack, centre: ArrayLike, shape: tuple[int, int, int]
) -> Affine:
    """Affine of an array of ``shape`` (slices, rows, cols) whose middle is at ``centre``.

    ``steps`` (3, 3) has the mm of one step along x, y and slices as its columns; ``centre`` (3,)
    is (x_px, y_px, index) in the stack.
    """
    affine = np.eye(4)
    affine[:3, :3] = steps
    middle = (np.array(shape[::-1]) - 1) / 2
    affine[:3, 3] = to_mm(stack.affine, [centre])[0] - affine[:3, :3] @ middle
    return affine


def crop_affine(
    roi_set: RoiSet,
    stack: Stack,
    centre: ArrayLike,
    sampled: NDArray[np.int64] | None = None,
) -> Affine:
    """Affine of a stored crop: its (x_px, y_px, slice) in rois.npy to LPS mm.

    ``centre`` (3,) is (x_px, y_px, index) in the stack; it falls on the middle of the stored
    array, ((width - 1) / 2, (height - 1) / 2, (slices - 1) / 2), margins included, unless the
    set keeps crops inside. The slice axis runs as the stack's index.

    Of ``sampled`` slices (indices in the stack) the centre's own index means nothing. The affine
    leads from the first one to the last in even steps; the exact place of each is its index.
    """
    slice_step = stack.affine[:3, 2]
    if sampled is not None:
        # Where one slice is repeated, a step of 0 would be no affine.
        step = (sampled[-1] - sampled[0]) / max(len(sampled) - 1, 1) or 1.0
        slice_step = slice_step * step
        centre = *np.asarray(centre)[:2], sampled[0] + step * (len(sampled) - 1) / 2
    elif roi_set.slices.spacing_mm is not None:
        slice_step = normal(stack.affine) * roi_set.slices.spacing_mm
    steps = np.stack([*crop_steps(roi_set.in_plane, stack), slice_step], axis=1)
    if roi_set.keep_inside:
        centre = _inside(roi_set, stack, centre, steps, along=sampled is None)
    return place_crop(steps, stack, centre, roi_set.stored_shape)


def _inside(
    roi_set: RoiSet,
    stack: Stack,
    centre: ArrayLike,
    steps: NDArray[np.float64],
    along: bool,
) -> NDArray[np.float64]:
    """The nearest centre around which the crop, margin apart, lies within the image.

    In the middle of the image where the crop is larger; of its slices too, if ``along``.
    """
    moved = np.array(centre, float)
    to_stack = np.abs(np.linalg.solve(stack.affine[:3, :3], steps))
    rows, cols = roi_set.in_plane.seen_px
    reach = to_stack[:2, :2] @ np.array([cols, rows]) / 2
    for axis, length in enumerate((stack.cols, stack.rows)):
        # From the outer edge of the first pixel to that of the last.
        moved[axis] = _between(moved[axis], reach[axis] - 0.5, length - 0.5 - reach[axis])
    if along:
        half = to_stack[2, 2] * (roi_set.slices.count - 1) / 2
        low, high = half, stack.slices - 1 - half
        if roi_set.slices.spacing_mm is None and low > high:
            low = high = (stack.slices - 1) // 2  # no interpolation between own slices
        moved[2] = _between(moved[2], low, high)
    return moved


def _between(value: float, low: float, high: float) -> float:
    return min(max(value, low), high) if low <= high else (low + high) / 2


def crop_pixels(
    roi_set: RoiSet,
    stack: Stack,
    volume: NDArray[np.generic],
    affine: Affine,
    sampled: NDArray[np.int64] | None = None,
) -> NDArray[np.uint8]:
    """The crop's values, uint8 (slices, height, width); see ``read_crop``.

    ``affine`` and ``sampled`` as in ``crop_affine``.
    """
    shape = roi_set.stored_shape
    if sampled is None:
        return read_crop(stack, volume, affine, shape)
    slices = []
    for index in sampled:
        own = affine.copy()
        own[:3, 3] += stack.affine[:3, 2] * (index - sampled[0])
        slices.append(read_crop(stack, volume, own, (1, *shape[1:])))
    return np.concatenate(slices)


def is_blank(roi_set: RoiSet, crop: NDArray[np.uint8]) -> bool:
    """Whether a stored crop (slices, height, width), margins apart, has one value everywhere.

    So has one that lies outside the image, or on a picture without content: a network would
    answer it with a constant.
    """
    edge = roi_set.in_plane.margin_px
    beside = (roi_set.slices.stored - roi_set.slices.seen) // 2
    seen = crop[
        beside : crop.shape[0] - beside, edge : crop.shape[1] - edge, edge : crop.shape[2] - edge
    ]
    return bool(seen.min() == seen.max())


def read_crop(
    stack: Stack, volume: NDArray[np.generic], affine: Affine, shape: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Values of ``shape`` (slices, rows, cols) at ``affine``, uint8, by the stack's window.

    One trilinear interpolation of ``volume``. Crop pixels larger than one and a half of the
    stack's are averages over a finer grid, so that fine noise does not alias. Beyond the
    image's edge it is 0; beyond the first and last slice, that slice again.
    """
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
    # Padding is background before it is blended with the picture beside it.
    padding = None if stack.padding is None else (stack.padding, stack.intensity_low)
    values = resample_grid(volume, stack.affine, grid, fine_shape, fill=None, padding=padding)
    values = values.reshape(shape[0], shape[1], finer[1], shape[2], finer[0]).mean(axis=(2, 4))
    pixels = window(values, stack.intensity_low, stack.intensity_high)
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
