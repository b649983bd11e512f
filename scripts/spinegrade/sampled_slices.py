"""Few slices drawn evenly from a stack, as the published two-stage system does.

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
