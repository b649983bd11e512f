"""Labels as radiologists give them: an ordered model of narrowing, gaps, and slips."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit, ndtr

from spinegrade.errors import SpinegradeError
from spinegrade.phantom.statistics import CELL_COUNT, Floats, LumbarStatistics

MISSING = -1
"""Code of a missing grade in integer arrays here; tables and files hold null instead."""

_LEFT_SUBARTICULAR = slice(15, 20)
_RIGHT_SUBARTICULAR = slice(20, 25)


class Grades(NamedTuple):
    """Drawn labels: ``grade`` (n, 25) int64 of 0, 1, 2 or MISSING; ``mislabelled`` (n, 25) bool."""

    grade: NDArray[np.int64]
    mislabelled: NDArray[np.bool_]


def grade_probabilities(narrowing: Floats, statistics: LumbarStatistics) -> Floats:
    """P(grade | narrowing): (n, 25) in [0, 1] to (n, 25, 3), rows summing to one.

    Ordered probit: a reading is the logit of the narrowing plus normal noise, cut at the
    logits of the two thresholds. Narrowing of exactly 0 or 1 is graded 0 or 2 for certain.
    """
    narrowing = np.asarray(narrowing, float)
    if narrowing.ndim != 2 or narrowing.shape[1] != CELL_COUNT:
        raise SpinegradeError(
            f"narrowing has shape {narrowing.shape}; expected (n, {CELL_COUNT})",
            code="PHANTOM_NUMBERS",
        )
    if not ((narrowing >= 0) & (narrowing <= 1)).all():
        raise SpinegradeError("narrowing must lie within [0, 1]", code="PHANTOM_NUMBERS")
    reading = logit(narrowing)[..., None] - logit(statistics.rater.thresholds)
    # From both tails, so that small probabilities keep their digits.
    above = ndtr(reading / statistics.rater.noise)
    below = ndtr(-reading / statistics.rater.noise)
    middle = np.where(
        reading[..., 0] > 0,
        below[..., 1] - below[..., 0],
        above[..., 0] - above[..., 1],
    )
    return np.stack([below[..., 0], np.maximum(middle, 0.0), above[..., 1]], axis=-1)


def with_mislabels(probabilities: Floats, share: float) -> Floats:
    """P(label) when a ``share`` of labels is replaced by one of the two other grades at random."""
    return (1 - share) * probabilities + share * (1 - probabilities) / 2


def draw_grades(
    rng: np.random.Generator,
    probabilities: Floats,
    statistics: LumbarStatistics,
    mislabelled_share: float = 0.0,
    missing: bool = True,
) -> Grades:
    """Draw labels of n studies from P(grade) of shape (n, 25, 3).

    ``mislabelled_share`` of the graded cells, each on its own, gets one of the two other
    grades instead; ``missing`` leaves grades out at the real rates, in the subarticular cells
    of a level mostly on both sides together. A missing cell is never marked mislabelled.
    """
    if not 0 <= mislabelled_share <= 1:
        raise SpinegradeError(
            f"mislabelled share {mislabelled_share} is outside [0, 1]", code="PHANTOM_NUMBERS"
        )
    cells = probabilities.shape[:2]
    cut = rng.random(cells)[..., None]
    grade = (cut >= np.cumsum(probabilities, axis=-1)[..., :2]).sum(axis=-1).astype(np.int64)
    mislabelled = rng.random(cells) < mislabelled_share
    other = (grade + rng.integers(1, 3, cells)) % 3
    grade = np.where(mislabelled, other, grade)
    gap_draws, together_draws = rng.random(cells), rng.random((cells[0], 5))
    if missing:
        gaps = _gaps(gap_draws, together_draws, statistics)
        grade[gaps] = MISSING
        mislabelled &= ~gaps
    return Grades(grade, mislabelled)


def _gaps(draws: Floats, together_draws: Floats, statistics: LumbarStatistics) -> NDArray[np.bool_]:
    rate, together = statistics.rater.missing_rate, statistics.rater.missing_together
    gaps = draws < rate
    left = gaps[:, _LEFT_SUBARTICULAR]
    # The right side misses with its left with probability `together`, and alone as often as
    # its own rate still needs.
    left_rate, right_rate = rate[_LEFT_SUBARTICULAR], rate[_RIGHT_SUBARTICULAR]
    alone = np.clip((right_rate - together * left_rate) / (1 - left_rate), 0, 1)
    gaps[:, _RIGHT_SUBARTICULAR] = np.where(
        left, together_draws < together, draws[:, _RIGHT_SUBARTICULAR] < alone
    )
    return gaps
