"""Few slices drawn evenly from a sagittal stack, wherever the keypoint lies.

The rule is that of the published two-stage system (RSNA 2024, 7th place): of N slices, entry k of
``of`` is slice max(0, round(k N / of - 0.5001)), k from 1 on. Thick and thin stacks give as many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PARTS = ("centre", "left", "right", "side")


def sampled_indices(slices: int, of: int) -> NDArray[np.int64]:
    """Indices (of,) of the entries in a stack of ``slices``, rising from the patient's right."""
    entries = np.arange(1, of + 1) * slices / of - 0.5001
    return np.maximum(0, np.rint(entries)).astype(np.int64)


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
