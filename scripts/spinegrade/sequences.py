"""Which slices of a level's range in an axial stack a network looks at.

Indices are those of the stack, which grow from feet to head; what is returned runs the other way,
cranial first, as the published two-stage system (RSNA 2024, 7th place) has its sequences.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinegrade.errors import SpinegradeError

POSITIONS = 6
"""Slices of a level that the published system looks at."""
JITTERS = (-0.3, 0.0, 0.3)
"""By how much of an interval its training moves them, each as likely."""


def choose_positions(
    first: int, last: int, positions: int = POSITIONS, jitter: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Indices (positions,) spread evenly over ``first`` to ``last``, both in, cranial first.

    A single one is the middle. ``jitter``, one number or (positions,), moves them by that share
    of the interval between two, positive to the head. They are rounded to whole slices (halves
    to even) and kept within the range; one with fewer slices repeats some. Raises SpinegradeError
    for an empty range or no positions.
    """
    if not 0 <= first <= last or positions < 1:
        raise SpinegradeError(
            f"{positions} positions from slice {first} to {last}: expected at least one position, "
            "and a first slice of at least 0 that is not after the last",
            code="SLICES_EMPTY",
        )
    if positions == 1:
        spread, interval = np.array([(first + last) / 2]), float(last - first)
    else:
        spread, interval = np.linspace(last, first, positions), (last - first) / (positions - 1)
    if jitter is not None:
        spread = spread + np.broadcast_to(np.asarray(jitter, float), spread.shape) * interval
    return np.clip(np.rint(spread), first, last).astype(np.int64)


def with_neighbours(chosen: ArrayLike, slices: int) -> NDArray[np.int64]:
    """Each index of ``chosen`` (n,) between its neighbours, (n, 3), cranial first.

    Beyond the ends of the stack of ``slices`` the end slice stands again.
    """
    middle = np.asarray(chosen, np.int64)[:, None]
    return np.clip(middle + np.array([1, 0, -1]), 0, slices - 1)
