"""The prior of one condition: the best that can be said of a cell by its level alone.

At each level q is proportional to w (n + 3 p): n counts the grades there, p are their shares over
all levels, w is the sample weight of a grade. The shares pull levels with few labels towards the
condition; the weights make q the best constant for the weighted log loss.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_PSEUDO_COUNT = 3.0


def grade_prior(counts: ArrayLike, grade_weights: ArrayLike) -> NDArray[np.float64]:
    """Probabilities (levels, 3) of one condition from the counts (levels, 3) of its grades.

    ``grade_weights`` (3,): the weights of the log loss.
    A grade that the condition never has gets one count more, as the other two do, so that no
    probability is zero. Without any label the shares are equal.
    """
    counts = np.asarray(counts, np.float64)
    whole = counts.sum(axis=0)
    if (whole == 0).any():
        whole = whole + 1.0
    shares = whole / whole.sum()
    weighted = np.asarray(grade_weights) * (counts + _PSEUDO_COUNT * shares)
    return weighted / weighted.sum(axis=1, keepdims=True)
