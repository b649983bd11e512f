"""Weights on the simplex and a small calibration, fitted on the competition's own metric.

SLSQP (Kraft 1988, as SciPy has it) with analytic gradients solves each condition's problem; the
calibration is a temperature and a factor on severe, by the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from spinegrade.combine.objective import Objective, Problem
from spinegrade.errors import SpinegradeError

_MOST_LOG = float(np.log(3.0))  # temperature and severe factor stay within 1/3 .. 3
_NOTHING = 1e-6  # a weight below this is the solver's zero


def problem_loss(problem: Problem, probabilities: np.ndarray) -> float:
    """Loss of probabilities (n, 3) on a problem: what its fits minimise."""
    return Objective(problem).loss(probabilities)


def _on_simplex(weights: np.ndarray) -> np.ndarray | None:
    """``weights`` without the solver's dust, summing to one; None where nothing usable is left."""
    weights = np.where(weights < _NOTHING, 0.0, weights)
    total = weights.sum()
    return weights / total if np.isfinite(total) and total > 0.0 else None


def fit_weights(
    objective: Objective, allowed: np.ndarray | None = None, warm: np.ndarray | None = None
) -> np.ndarray:
    """Weights (members,) on the probability simplex that minimise the problem's loss.

    ``allowed`` (members,) bool: who may have a weight, all by default. SLSQP from the even mix
    and from the best single member (the any-severe term is not convex), the better end wins; or,
    with ``warm`` (members,), from there alone: give only weights that were fitted on cells that
    this fit may see. Without labelled cells the weights are even. Raises SpinegradeError when no
    start converges.
    """
    members = len(objective.problem.space)
    free = np.flatnonzero(np.ones(members, bool) if allowed is None else allowed)
    even = np.zeros(members)
    even[free] = 1.0 / len(free)
    if len(free) == 1 or not objective.total_weight:
        return even

    def on_free(weights: np.ndarray) -> tuple[float, np.ndarray]:
        whole = np.zeros(members)
        whole[free] = weights
        value, gradient = objective.by_weights(whole)
        return value, gradient[free]

    started = None if warm is None else _on_simplex(warm[free])
    if started is not None:
        starts = [started]
    else:
        alone = [on_free(row)[0] for row in np.eye(len(free))]
        near_best = 0.9 * np.eye(len(free))[int(np.argmin(alone))] + 0.1 * even[free]
        starts = [even[free], near_best]
    best, best_loss, messages = even, np.inf, []
    for start in starts:
        found = minimize(
            on_free,
            start,
            jac=True,
            method="SLSQP",
            bounds=[(0.0, 1.0)] * len(free),
            constraints={
                "type": "eq",
                "fun": lambda weights: weights.sum() - 1.0,
                "jac": lambda weights: np.ones(len(weights)),
            },
            options={"maxiter": 200, "ftol": 1e-9},
        )
        messages.append(str(found.message))
        weights = _on_simplex(found.x)
        if weights is None:
            continue
        loss = on_free(weights)[0]
        if loss < best_loss:
            best, best_loss = np.zeros(members), loss
            best[free] = weights
    if not np.isfinite(best_loss):
        raise SpinegradeError(
            f"ensemble: the weights of {len(free)} members could not be fitted "
            f"({'; '.join(messages)}); look for a member whose probabilities are all alike",
            code="WEIGHTS_NOT_FITTED",
        )
    return best


def prune_weights(
    objective: Objective,
    fitted: np.ndarray,
    allowed: np.ndarray,
    prune: float = 0.0,
    shrink: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Weights ``fitted`` (members,) with those below ``prune`` at 0 and the others fitted again.

    The smaller half of them goes at a time, until none that is left lies below: members that
    are alike share a weight, and would all be lost at once. The largest always stays.
    ``shrink`` makes the weights that count from those fitted and from who is allowed one.
    Returns the weights (members,) and the places of the members that lost a weight so.
    """
    shrink = shrink or (lambda weights, _: weights.copy())
    weights = shrink(fitted, allowed)
    pruned: list[int] = []
    while True:
        order = np.argsort(weights, kind="stable")[:-1]
        small = order[(weights[order] > 0.0) & (weights[order] < prune)]
        if not len(small):
            return weights, tuple(sorted(pruned))
        dropped = small[: (len(small) + 1) // 2]
        pruned += dropped.tolist()
        weights[dropped] = 0.0
        allowed = weights > 0.0
        fitted = fit_weights(objective, allowed, np.where(allowed, fitted, 0.0))
        weights = shrink(fitted, allowed)


def fit_pruned(
    objective: Objective,
    allowed: np.ndarray,
    prune: float = 0.0,
    warm: np.ndarray | None = None,
) -> tuple[np.ndarray, tuple[int, ...]]:
    """``fit_weights``, then ``prune_weights`` as they were fitted."""
    return prune_weights(objective, fit_weights(objective, allowed, warm), allowed, prune)


def fit_calibration(objective: Objective, mixed: np.ndarray, spread: float) -> tuple[float, float]:
    """Temperature and severe factor for mixed probabilities (n, 3), held near one.

    The penalty is that of a normal prior of standard deviation ``spread`` on both
    logarithms, counted against the cells' summed sample weights: few labels move little.
    """
    if not objective.total_weight:
        return 1.0, 1.0
    strength = 0.5 / (spread**2 * objective.total_weight)
    spoken = np.ascontiguousarray(np.log(mixed).T)

    def penalised(logs: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = objective.by_calibration(logs, spoken)
        return value + strength * float((logs**2).sum()), gradient + 2.0 * strength * logs

    limits = [(-_MOST_LOG, _MOST_LOG)] * 2
    found = minimize(
        penalised, np.zeros(2), jac=True, method="SLSQP", bounds=limits, options={"ftol": 1e-9}
    )
    if not np.isfinite(found.fun) or found.fun >= penalised(np.zeros(2))[0]:
        return 1.0, 1.0
    temperature, factor = np.exp(found.x)
    return float(temperature), float(factor)
