"""Half of the slices that are drawn evenly from a sagittal stack, wherever the keypoint lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinegrade.sampled_slices import half_of_entries, sampled_indices

PARTS = ("centre", "left", "right", "side")


@dataclass(frozen=True)
class Sampled:
    """Half of the ``of`` (even) entries of a stack: which ``part``.

    ``centre``: those about the middle; ``right`` and ``left``: those from the middle to the
    patient's side; ``side``: that of the cell. ``entries``: fixed or published, see
    ``half_of_entries``.
    """

    part: str
    of: int = 10
    entries: str = "fixed"

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
        return sampled_indices(slices, self.of)[half_of_entries(part, self.of, self.entries)]
