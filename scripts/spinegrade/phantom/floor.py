"""The floor: the best score that anyone can expect who knows the true probabilities.

For the weighted log loss of a cell alone the optimum is q_c in proportion to w_c p_c. The
any-severe term takes the largest severe probability m of the canal levels, so the five canal
cells of a study and m are optimised together. With level k carrying the maximum, the loss is
convex in m: the others follow as min(m, their own optimum). It is solved for each k by
bisection of the derivative, and the best k wins; no other choice can be better.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from spinegrade.metrics.rsna2024 import Score, score_arrays
from spinegrade.phantom.rater import MISSING
from spinegrade.phantom.statistics import Floats
from spinegrade.regions.lumbar_mri import CONDITIONS, GRADE_WEIGHTS, LUMBAR_CELLS, SPINAL

_WEIGHTS = np.asarray(GRADE_WEIGHTS)
_CONDITION = np.array([CONDITIONS.index(cell.condition) for cell in LUMBAR_CELLS])
_CANAL = np.flatnonzero([cell.condition == SPINAL for cell in LUMBAR_CELLS])


def _any_severe_weights(canal: Floats) -> tuple[Floats, Floats]:
    """Expected weight of "some level severe" and of "none", (n,) each, from (n, 5, 3).

    The weight of a study is its largest sample weight: 4 with a severe level, else 2 with a
    moderate one, else 1. Grades are independent given their probabilities.
    """
    none_severe = (canal[..., 0] + canal[..., 1]).prod(axis=1)
    all_normal = canal[..., 0].prod(axis=1)
    some = _WEIGHTS[2] * (1 - none_severe)
    none = _WEIGHTS[1] * (none_severe - all_normal) + _WEIGHTS[0] * all_normal
    return some, none


def _largest_severe(
    own: Floats, severe: Floats, rest: Floats, some: Floats, none: Floats
) -> tuple[Floats, Floats]:
    """Best m for each carrying level, and its loss: (n, 5) and (n, 5).

    ``severe``, ``rest`` (n, 5): weights of -log(q) and -log(1 - q) of a level; ``own`` their
    optimum; ``some``, ``none`` (n,): the same of the any-severe term.
    """
    low, high = np.zeros_like(own), np.ones_like(own)
    carries = np.eye(own.shape[1], dtype=bool)
    for _ in range(60):
        m = (low + high) / 2
        # Levels (last axis) that move with m: those whose own optimum lies above, and k.
        moving = (own[:, None, :] > m[..., None]) | carries
        gain = (moving * severe[:, None, :]).sum(axis=-1) + some[:, None]
        cost = (moving * rest[:, None, :]).sum(axis=-1) + none[:, None]
        falling = gain * (1 - m) > cost * m  # the loss still falls as m grows
        low, high = np.where(falling, m, low), np.where(falling, high, m)
    m = (low + high) / 2
    at = np.where(carries, m[..., None], np.minimum(m[..., None], own[:, None, :]))
    loss = -(xlogy(severe[:, None, :], at) + xlogy(rest[:, None, :], 1 - at)).sum(axis=-1)
    loss -= xlogy(some[:, None], m) + xlogy(none[:, None], 1 - m)
    return m, loss


def optimal_probabilities(probabilities: Floats) -> Floats:
    """Predictions of least expected score, (n, 25, 3), for true probabilities (n, 25, 3).

    The four terms are ratios of sums over the cohort; their denominators are taken at their
    expectation, which is exact as n grows.
    """
    weighted = np.asarray(probabilities, float) * _WEIGHTS
    best = weighted / weighted.sum(axis=-1, keepdims=True)
    canal = np.asarray(probabilities, float)[:, _CANAL]
    some, none = _any_severe_weights(canal)
    cell_scale = weighted[:, _CANAL].sum()
    any_scale = (some + none).sum()
    shares = weighted[:, _CANAL] / cell_scale
    own = best[:, _CANAL, 2]
    m, loss = _largest_severe(
        own, shares[..., 2], shares[..., :2].sum(axis=-1), some / any_scale, none / any_scale
    )
    carrier = loss.argmin(axis=1)
    chosen = np.take_along_axis(m, carrier[:, None], axis=1)
    severe = np.minimum(own, chosen)
    np.put_along_axis(severe, carrier[:, None], chosen, axis=1)
    milder = best[:, _CANAL, :2]
    total = milder.sum(axis=-1, keepdims=True)
    # Where the milder grades cannot be, what is left goes to the moderate one.
    split = np.where(total > 0, milder / np.where(total > 0, total, 1), [0.0, 1.0])
    best[:, _CANAL, :2] = split * (1 - severe)[..., None]
    best[:, _CANAL, 2] = severe
    return best


def expected_score(probabilities: Floats, predictions: Floats) -> Score:
    """Score to expect of predictions (n, 25, 3) under true probabilities (n, 25, 3).

    Expected loss over expected weight for each of the four parts.
    """
    weighted = np.asarray(probabilities, float) * _WEIGHTS
    loss = -xlogy(weighted, predictions).sum(axis=(0, 2))
    weight = weighted.sum(axis=(0, 2))
    some, none = _any_severe_weights(np.asarray(probabilities, float)[:, _CANAL])
    m = predictions[:, _CANAL, 2].max(axis=1)
    loss, weight = np.bincount(_CONDITION, loss), np.bincount(_CONDITION, weight)
    parts = [float(part) for part in loss / weight]
    parts.append(float(-(xlogy(some, m) + xlogy(none, 1 - m)).sum() / (some + none).sum()))
    return Score(float(np.mean(parts)), *parts)


def expected_floor(probabilities: Floats) -> Score:
    """Expected score of the optimal predictions for true probabilities (n, 25, 3)."""
    return expected_score(probabilities, optimal_probabilities(probabilities))


def score_of_labels(labels: NDArray[np.int64], predictions: Floats) -> Score:
    """Score of predictions (n, 25, 3) on labels (n, 25) of 0, 1, 2 or MISSING (left out)."""
    study, cell = np.nonzero(labels != MISSING)
    return score_arrays(
        _CONDITION[cell], labels[study, cell], study, np.asarray(predictions)[study, cell]
    )


def realised_floor(labels: NDArray[np.int64], probabilities: Floats) -> Score:
    """Score that the optimal predictions get on the labels as they fell.

    ``labels`` (n, 25) of 0, 1, 2 or MISSING; ``probabilities`` (n, 25, 3) the true ones
    (where labels may be slips, those of ``rater.with_mislabels``). Luck can beat it on few
    studies; systems are held against it as a ratio.
    """
    return score_of_labels(labels, optimal_probabilities(probabilities))
