"""The shape of stored crops, and of what a network sees of them."""

from __future__ import annotations

from typing import NamedTuple


class CropShape(NamedTuple):
    """Crops of one set: what a network sees, and the margin stored around it.

    Stored arrays are (n, slices + 2 ``slice_margin``, rows + 2 ``margin_px``, cols + the same).
    """

    slices: int
    slice_margin: int
    rows: int
    cols: int
    margin_px: int

    @property
    def stored(self) -> tuple[int, int, int]:
        """(slices, height, width) of one crop in rois.npy."""
        edge = 2 * self.margin_px
        return self.slices + 2 * self.slice_margin, self.rows + edge, self.cols + edge

    @property
    def seen(self) -> tuple[int, int, int]:
        """(slices, rows, cols) of one crop as a network sees it."""
        return self.slices, self.rows, self.cols

    @property
    def side_px(self) -> int | None:
        """The side of a square crop, None for another."""
        return self.rows if self.rows == self.cols else None
