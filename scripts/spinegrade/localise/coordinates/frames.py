"""The square frame in which a stack is seen, and where its pixels lie in the stack.

Rows and columns are brought to ``frame_px`` each on its own, as in the published system: the
frame is filled whatever the image's shape, and its pixels need not be square. Columns grow to the
patient's back (sagittal) or left (axial), rows to the feet (sagittal) or back (axial), however the
scanner wrote them. Frame slices are the stack's in the published order: sagittal from the patient's
right to left, axial from head to feet.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinegrade.geometry.affine import Affine, to_pixels
from spinegrade.geometry.in_plane import Turn, turn_to_patient
from spinegrade.volumes import Stack


class Frame:
    """How a stack lies in a frame of ``frame_px`` a side.

    ``to_stack`` (4, 4) maps the frame's (x, y, slice) to the stack's (x_px, y_px, index); integer
    pixels are pixel centres.
    """

    def __init__(self, stack: Stack, frame_px: int) -> None:
        self.stack, self.frame_px = stack, frame_px
        scaled = np.eye(4)
        scaled[0, 0], scaled[1, 1] = stack.cols / frame_px, stack.rows / frame_px
        scaled[:2, 3] = np.diag(scaled)[:2] / 2 - 0.5
        shape = (frame_px, frame_px)
        self._turn: Turn = turn_to_patient(scaled, stack.affine, stack.plane, shape)
        self._reversed = stack.plane == "axial"
        order = np.eye(4)
        if self._reversed:
            order[2, 2], order[2, 3] = -1, stack.slices - 1
        self.to_stack: Affine = self._turn.to_pixels @ order

    def slices(self, places: ArrayLike) -> NDArray[np.uint8]:
        """The frame's slices at ``places`` (n,), windowed, uint8 (n, frame_px, frame_px).

        Shrunk by the mean over the area, enlarged by linear interpolation. Raises SpinegradeError
        for a volume that cannot be read.
        """
        wanted, back = np.unique(np.asarray(places), return_inverse=True)
        # Reversing is its own inverse.
        indices = [self.place_of(place) for place in wanted.tolist()]
        images = self.stack.window(self.stack.open()[indices])
        side = self.frame_px
        grows = side >= self.stack.cols and side >= self.stack.rows
        how = cv2.INTER_LINEAR if grows else cv2.INTER_AREA
        if images.shape[1:] != (side, side):
            images = np.stack([cv2.resize(one, (side, side), interpolation=how) for one in images])
        return self._turn.apply(images)[back]

    def place_of(self, index: int) -> int:
        """The frame's slice that shows the stack's slice ``index``."""
        return self.stack.slices - 1 - index if self._reversed else index

    def places(self, points: ArrayLike) -> NDArray[np.float64]:
        """(n, 3) points (x_px, y_px, index) of the stack to (x, y, slice) of the frame."""
        return to_pixels(self.to_stack, points)


def nearest_places(slices: int, depth: int) -> NDArray[np.int64]:
    """Which of ``slices`` stands at each of ``depth`` places: torch's "nearest", floor(k n / d)."""
    return np.arange(depth) * slices // depth
