"""The weighted log loss of graded cells: the one formula, and the one floor.

A small module of its own, since graders choose their epoch by it: an edit of the score (any
severe, parts, tables) must not train them again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

CLIP = float(np.finfo(np.float64).eps)
"""Probabilities are held within [CLIP, 1 - CLIP], as scikit-learn's log_loss does."""


def negative_log(probability: ArrayLike) -> NDArray[np.float64]:
    """-log of probabilities of any shape, held within ``CLIP`` of 0 and of 1."""
    return -np.log(np.clip(np.asarray(probability, np.float64), CLIP, 1.0 - CLIP))


def cell_losses(
    probabilities: NDArray[np.floating], grades: NDArray[np.integer], grade_weights: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log loss (n,) of each cell's true grade, not yet weighted, and its weight (n,).

    ``probabilities`` (n, grades), rows summing to one; ``grades`` (n,) integers from 0;
    ``grade_weights`` (grades,).
    """
    grades = np.asarray(grades, np.int64)
    weights = np.asarray(grade_weights, np.float64)[grades]
    return negative_log(probabilities[np.arange(len(grades)), grades]), weights


def mean_over_conditions(
    probabilities: NDArray[np.floating],
    grades: NDArray[np.integer],
    condition: NDArray[np.integer],
    grade_weights: ArrayLike,
) -> float:
    """The mean over the conditions of their weighted log losses; NaN where there is no cell.

    ``condition`` (n,) is any code of each cell's condition; a condition without a cell has no
    part in the mean. The score's further part, any severe, is left out: it needs whole studies.
    """
    losses, weights = cell_losses(probabilities, grades, grade_weights)
    parts = [
        np.average(losses[condition == code], weights=weights[condition == code])
        for code in np.unique(condition)
    ]
    return float(np.mean(parts)) if parts else float("nan")
