"""Whether slices lie on an even line, whatever the rounding of their written positions.

A position may lie off the line, not a step off another step: two steps that are each rounded
differ by twice what either is off. All positions are DICOM LPS mm, sorted along the normal.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

Vectors = NDArray[np.float64]

# What positions are commonly rounded to, the coarsest first.
_ROUNDED_MM = (1.0, 0.5, 0.1)
# With one slice of a short stack missing, the others lie within a quarter of a step of an even
# line: what may lie off it must be less.
_GREATEST_SHARE = 0.2
_EXACT_MM = 0.01


class EvenLine(NamedTuple):
    """``first`` (3,) and ``step`` (3,) of an even line, and the worst distance from it in mm.

    ``apart_mm`` is the greatest distance along one patient axis, since each is written, and
    rounded, by itself.
    """

    first: Vectors
    step: Vectors
    apart_mm: float


def even_line(positions_mm: Vectors, index: Vectors | None = None) -> EvenLine:
    """The even line through ``positions_mm`` (n, 3), n at least 2.

    ``index`` (n,): which place on the line each has, growing; None: 0 to n - 1. The line
    through the first and the last where all lie on it to a hundredth of a millimetre, else
    the one whose greatest distance from a position is least.
    """
    places = np.arange(len(positions_mm), dtype=float) if index is None else index
    ends = through_ends(positions_mm, places)
    return ends if ends.apart_mm <= _EXACT_MM else _nearest(positions_mm, places)


def lies_even(positions_mm: Vectors, tolerance_mm: float, index: Vectors | None = None) -> bool:
    """Whether no position (n, 3) lies more than ``tolerance_mm`` off ``even_line``, along an axis.

    The line through the ends is at most twice as far off as the nearest one, so that the
    nearest is seldom looked for.
    """
    places = np.arange(len(positions_mm), dtype=float) if index is None else index
    apart = through_ends(positions_mm, places).apart_mm
    if apart <= tolerance_mm or apart > 2 * tolerance_mm:
        return apart <= tolerance_mm
    return _nearest(positions_mm, places).apart_mm <= tolerance_mm


def through_ends(positions_mm: Vectors, index: Vectors | None = None) -> EvenLine:
    """The even line through the first and the last of ``positions_mm`` (n, 3); see even_line."""
    places = np.arange(len(positions_mm), dtype=float) if index is None else index
    step = (positions_mm[-1] - positions_mm[0]) / (places[-1] - places[0])
    first = positions_mm[0] - places[0] * step
    return EvenLine(first, step, _apart(positions_mm, places, first, step))


def _nearest(positions_mm: Vectors, places: Vectors) -> EvenLine:
    fitted = np.array([_least_apart(places, column) for column in positions_mm.T])
    first, step = fitted[:, 0], fitted[:, 1]
    return EvenLine(first, step, _apart(positions_mm, places, first, step))


def _apart(positions_mm: Vectors, places: Vectors, first: Vectors, step: Vectors) -> float:
    return float(np.abs(positions_mm - first - places[:, None] * step).max())


def _least_apart(places: Vectors, values: Vectors) -> tuple[float, float]:
    """Start and step of the line whose greatest distance from ``values`` (n,) is least."""
    middle = float(values.mean())
    ones = np.ones(len(places))
    above = np.column_stack([ones, places, -ones])
    below = np.column_stack([-ones, -places, -ones])
    found = linprog(
        [0.0, 0.0, 1.0],
        A_ub=np.vstack([above, below]),
        b_ub=np.concatenate([values - middle, middle - values]),
        bounds=[(None, None), (None, None), (0.0, None)],
    )
    if found.x is None:  # numbers of a size that no patient has
        step, start = np.polyfit(places, values, 1)
        return float(start), float(step)
    return float(found.x[0]) + middle, float(found.x[1])


def rounded_to_mm(positions_mm: Vectors) -> float:
    """The coarsest step that all of ``positions_mm`` (n, 3) are whole numbers of; 0: none."""
    for step in _ROUNDED_MM:
        counts = positions_mm / step
        if np.abs(counts - np.rint(counts)).max() < 1e-6:
            return step
    return 0.0


def position_tolerances_mm(
    positions_mm: Vectors, step_mm: float, tolerance_mm: float
) -> tuple[float, float]:
    """How far a position may lie off the even line along one axis: as a rule, and if rounded.

    The first is ``tolerance_mm``; the second half of what the positions are rounded to, where
    that is more. Both stay small beside ``step_mm``, the step between slices.
    """
    greatest = _GREATEST_SHARE * step_mm
    half = rounded_to_mm(positions_mm) / 2
    usual = min(tolerance_mm, greatest)
    # A hair more, since decimals are not exact in binary numbers.
    return usual + 1e-6, max(usual, half if half <= greatest else 0.0) + 1e-6


def on_even_places(positions_mm: Vectors, step: Vectors, tolerance_mm: float) -> bool:
    """Whether all positions are places of one even line of about ``step`` (3,), some left free.

    Blocks of slices that were planned one by one are off each other's line; slices of one scan
    from which some are missing are not.
    """
    if len(positions_mm) < 2:
        return True
    along = step / np.linalg.norm(step)
    gaps = np.rint(np.diff(positions_mm @ along) / np.linalg.norm(step))
    if (gaps < 1).any():
        return False
    index = np.concatenate([[0.0], np.cumsum(gaps)])
    return lies_even(positions_mm, tolerance_mm, index)
