"""The square canvas on which a whole stack is seen, and its points in pixels of a heatmap.

Columns of a canvas grow to the patient's back and rows to the feet, however the scanner wrote
them; slices are all of the stack's, in its order (from the patient's right to left). Integer
pixels are pixel centres, so that a scale s leads from x to s (x + 1/2) - 1/2, as in OpenCV's
and torch's resizing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import Affine
from spinegrade.geometry.in_plane import Turn, turn_to_patient
from spinegrade.volumes import Stack

if TYPE_CHECKING:
    from torch import Tensor

FRAME_PX = 512
"""Canvas of the published system; lengths in px are settled for it and scale with others."""
MASK_STRIDE = 4
"""Image pixels a side of a heatmap's pixel."""
OFFSETS = ("exact", "published")

# Quoted: what measures points alone runs without torch.
Points = TypeVar("Points", NDArray[np.floating], "Tensor")


class CanvasGeometry:
    """How a stack lies on a canvas of ``canvas`` px a side.

    ``to_pixels`` (4, 4) maps the canvas's (x, y, slice) to the stack's (x_px, y_px, index).
    Pixels are made square first, so that turns and scales of the canvas are those of the patient;
    the longer side then fills the canvas and the shorter one lies in its middle.
    """

    def __init__(self, stack: Stack, canvas: int) -> None:
        spacing = np.linalg.norm(stack.affine[:3, :2], axis=0)
        size_mm = np.array([stack.cols, stack.rows]) * spacing
        fitted = np.maximum(1, np.rint(size_mm * canvas / size_mm.max())).astype(int)
        self.cols, self.rows = (int(length) for length in fitted)
        to_pixels = np.eye(4)
        to_pixels[0, 0], to_pixels[1, 1] = stack.cols / self.cols, stack.rows / self.rows
        to_pixels[:2, 3] = np.diag(to_pixels)[:2] / 2 - 0.5
        shape = (self.rows, self.cols)
        self.turn: Turn = turn_to_patient(to_pixels, stack.affine, stack.plane, shape)
        rows, cols = shape[::-1] if self.turn.transposed else shape
        self.first = ((canvas - rows) // 2, (canvas - cols) // 2)
        shift = np.eye(4)
        shift[:2, 3] = -self.first[1], -self.first[0]
        self.to_pixels: Affine = self.turn.to_pixels @ shift


def on_canvas(stack: Stack, canvas: int) -> NDArray[np.uint8]:
    """The whole ``stack``, windowed, as uint8 (slices, canvas, canvas); zeros around it.

    Enlarged by linear interpolation; shrunk by the mean over the area, since a linear
    interpolation of every other pixel would alias. Raises SpinegradeError for a stack of one
    slice, which shows no more than one side of the patient, and for a broken volume.
    """
    check_slices(stack)
    geometry = CanvasGeometry(stack, canvas)
    slices = stack.window(stack.open())
    grows = geometry.cols >= stack.cols and geometry.rows >= stack.rows
    how = cv2.INTER_LINEAR if grows else cv2.INTER_AREA
    size = (geometry.cols, geometry.rows)
    if size != (stack.cols, stack.rows):
        slices = np.stack([cv2.resize(one, size, interpolation=how) for one in slices])
    slices = geometry.turn.apply(slices)
    rows, cols = slices.shape[1:]
    row, col = geometry.first
    out = np.zeros((len(slices), canvas, canvas), np.uint8)
    out[:, row : row + rows, col : col + cols] = slices
    return out


def check_slices(stack: Stack) -> None:
    """Refuse a stack of one slice."""
    if stack.slices < 2:
        raise SpinegradeError(
            f"study {stack.study}, series {stack.series}, stack {stack.stack}: it has one slice, "
            "but the one-stage networks need a volume of at least two; leave the series out"
        )


def to_mask(points: Points, canvas: int, image_px: int, offset: str = "exact") -> Points:
    """Canvas px to px of a heatmap whose image of ``image_px`` shows the whole canvas.

    ``points`` (..., 2 or 3), x and y first; a third value, the slice, stays. ``offset``: "exact"
    counts from pixel centres; "published" multiplies alone, which puts a point (1 - scale) / 2
    pixels (up to 0.42) too far to the right and down.
    """
    scale = image_px / (MASK_STRIDE * canvas)
    return _scaled(points, scale, (scale - 1) / 2 if _exact(offset) else 0.0)


def from_mask(points: Points, canvas: int, image_px: int, offset: str = "exact") -> Points:
    """Inverse of ``to_mask``."""
    scale = MASK_STRIDE * canvas / image_px
    return _scaled(points, scale, (scale - 1) / 2 if _exact(offset) else 0.0)


def _exact(offset: str) -> bool:
    if offset not in OFFSETS:
        raise SpinegradeError(f"offset of points is {offset!r}; allowed: {', '.join(OFFSETS)}")
    return offset == "exact"


def _scaled(points: Points, scale: float, shift: float) -> Points:
    moved = points + 0  # a copy of either kind
    moved[..., :2] = points[..., :2] * scale + shift
    return moved
