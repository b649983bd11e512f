"""Few slices drawn evenly from a sagittal stack, as the published two-stage system does.

lhwcv's part of the seventh place of RSNA 2024. Thick and thin stacks give as many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sampled_indices(slices: int, of: int) -> NDArray[np.int64]:
    """Indices (of,) of the entries in a stack of ``slices``, rising as the stack's do.

    Entry k, from 1 on, is slice max(0, round(k slices / of - 0.5001)).
    """
    entries = np.arange(1, of + 1) * slices / of - 0.5001
    return np.maximum(0, np.rint(entries)).astype(np.int64)


def half_of_entries(part: str, of: int, entries: str = "fixed") -> range:
    """Half of ``of`` (even) entries, counted from 0: the ``part`` centre, or the patient's side.

    Stacks run from the patient's right to left. Entry of / 2 - 1 is the middle of the stack, as
    entry k lies k / of through it. "fixed": about it are the centre and, mirrored, both sides.
    "published": the centre and the left half begin one entry later, so that they show 0.1 of the
    stack farther to the left; of ten, entries 3 to 7 and 5 to 9.
    """
    count = of // 2
    start = {"right": 0, "centre": count // 2, "left": count - 1}[part]
    later = entries == "published" and part != "right"
    return range(start + later, start + later + count)
