"""Half of the slices that are drawn evenly from a sagittal stack, wherever the keypoint lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinegrade.sampled_slices import sampled_indices

PARTS = ("centre", "left", "right", "side")


@dataclass(frozen=True)
class Sampled:
    """Half of the ``of`` (even) entries of a stack: which ``part``.

    ``centre``: those in the middle (3 to 7 of 10, counted from 0); ``right`` and ``left``: the
    first and the second half, which are the patient's; ``side``: that of the cell.
    """

    part: str
    of: int = 10

    @property
    def count(self) -> int:
        """Slices of a crop."""
        return self.of // 2

    def indices(self, slices: int, side: str) -> NDArray[np.int64]:
        """Indices (count,) in a sagittal stack of ``slices`` for a cell of ``side``.

        In the stack's order, from the patient's right to left; a stack of fewer slices than
        entries gives some of them several times.
        """
        part = side if self.part == "side" else self.part
        start = {"centre": (self.count + 1) // 2, "right": 0, "left": self.count}[part]
        return sampled_indices(slices, self.of)[start : start + self.count]
