"""Weights on the simplex and a small calibration, fitted on the competition's own metric.

The score is a sum of three problems, one a condition: the weighted log loss, and for the
canal the any-severe term with it. Each has its own weights; SLSQP with analytic gradients
solves them. Sums go through einsum, not BLAS, so that the number of threads changes no bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from spinegrade.errors import SpinegradeError
from spinegrade.names import GRADE_WEIGHTS

FLOOR = 1e-5
"""Least probability of a combined row: one sure and wrong cell must not sink a cohort."""

_TINY = 1e-12
_MOST_LOG = float(np.log(3.0))  # temperature and severe factor stay within 1/3 .. 3
_WEIGHTS = np.asarray(GRADE_WEIGHTS)


@dataclass(frozen=True)
class Combination:
    """How one condition's members become one: weights (members,), then a calibration.

    q is proportional to mix ** (1 / temperature) times (1, 1, severe_factor).
    """

    weights: np.ndarray
    temperature: float = 1.0
    severe_factor: float = 1.0

    def apply(self, values: np.ndarray) -> np.ndarray:
        """(members, n, 3) to (n, 3) float64, rows summing to one, none below ``FLOOR``."""
        return calibrate(mix(values, self.weights), self.temperature, self.severe_factor)


@dataclass(frozen=True)
class Problem:
    """The labelled cells of one condition.

    ``values`` (members, n, 3), ``grade`` (n,), ``study`` (n,) any codes; ``any_severe``:
    whether the any-severe term belongs to it (the canal).
    """

    values: np.ndarray
    grade: np.ndarray
    study: np.ndarray
    any_severe: bool

    def part(self, chosen: np.ndarray) -> Problem:
        """The problem on the cells where the mask ``chosen`` (n,) holds."""
        return Problem(
            self.values[:, chosen], self.grade[chosen], self.study[chosen], self.any_severe
        )


def mix(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean (n, 3) of members (members, n, 3), held above ``FLOOR``."""
    mixed = np.maximum(np.einsum("m,mnc->nc", weights, values), FLOOR)
    return mixed / mixed.sum(axis=1, keepdims=True)


def calibrate(mixed: np.ndarray, temperature: float, severe_factor: float) -> np.ndarray:
    """Sharpen or soften rows (n, 3) and scale their odds of severe; rows sum to one."""
    if temperature == 1.0 and severe_factor == 1.0:
        return mixed
    raised = mixed ** (1.0 / temperature) * np.array([1.0, 1.0, severe_factor])
    raised = np.maximum(raised / raised.sum(axis=1, keepdims=True), FLOOR)
    return raised / raised.sum(axis=1, keepdims=True)


class _Objective:
    """Loss of a problem, and its gradient with respect to the members' weights."""

    def __init__(self, problem: Problem) -> None:
        weight = _WEIGHTS[problem.grade]
        self.problem = problem
        self.share = weight / weight.sum()
        self.total_weight = float(weight.sum())
        self.rows = np.arange(len(problem.grade))
        self.own = problem.values[:, self.rows, problem.grade]
        if not problem.any_severe:
            return
        # Cells of each study side by side, padded with the study's first cell: a maximum
        # along the row is then the study's maximum.
        order = np.argsort(problem.study, kind="stable")
        _, first, count = np.unique(problem.study[order], return_index=True, return_counts=True)
        offset = np.arange(count.max())
        self.place = order[first[:, None] + np.where(offset < count[:, None], offset, 0)]
        self.severe = problem.grade[self.place].max(axis=1) == 2
        heaviest = weight[self.place].max(axis=1)
        self.study_share = heaviest / heaviest.sum()

    def _top(self, severe: np.ndarray) -> np.ndarray:
        """The cell (studies,) of each study with the largest severe probability."""
        best = severe[self.place].argmax(axis=1)
        return self.place[np.arange(len(best)), best]

    def study_losses(self, probabilities: np.ndarray) -> np.ndarray:
        """Each study's part (studies,) of the loss, by rising study code; they sum to it."""
        own = np.maximum(probabilities[self.rows, self.problem.grade], _TINY)
        _, study = np.unique(self.problem.study, return_inverse=True)
        value = np.bincount(study, -self.share * np.log(own))
        if self.problem.any_severe:
            top = probabilities[self._top(probabilities[:, 2]), 2]
            chance = np.maximum(np.where(self.severe, top, 1.0 - top), _TINY)
            value -= self.study_share * np.log(chance)
        return value

    def loss(self, probabilities: np.ndarray) -> float:
        """Loss of probabilities (n, 3): log loss, plus the any-severe term of the canal."""
        return float(self.study_losses(probabilities).sum())

    def loss_and_gradient(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss of the members' mix, and its gradient (members,)."""
        own = np.maximum(np.einsum("m,mn->n", weights, self.own), _TINY)
        value = float(-(self.share * np.log(own)).sum())
        gradient = -np.einsum("mn,n->m", self.own, self.share / own)
        if self.problem.any_severe:
            severe = self.problem.values[:, :, 2]
            mixed = np.einsum("m,mn->n", weights, severe)
            top = self._top(mixed)
            chance = np.maximum(np.where(self.severe, mixed[top], 1.0 - mixed[top]), _TINY)
            value -= float((self.study_share * np.log(chance)).sum())
            slope = np.where(self.severe, -1.0, 1.0) * self.study_share / chance
            gradient += np.einsum("mn,n->m", severe[:, top], slope)
        return value, gradient


def problem_loss(problem: Problem, probabilities: np.ndarray) -> float:
    """Loss of probabilities (n, 3) on a problem: what its fits minimise."""
    return _Objective(problem).loss(probabilities)


def clearly_better(problem: Problem, candidate: np.ndarray, plain: np.ndarray) -> bool:
    """Whether ``candidate`` (n, 3) beats ``plain`` by more than the gain's standard error.

    The gain is the difference of the problem's losses, paired by study; its standard error
    comes from the spread of the studies' parts. A mere lead on few studies is noise.
    """
    objective = _Objective(problem)
    gain = objective.study_losses(plain) - objective.study_losses(candidate)
    return bool(gain.sum() > np.sqrt(len(gain)) * gain.std(ddof=1)) if len(gain) > 1 else False


def fit_weights(problem: Problem) -> np.ndarray:
    """Weights (members,) on the probability simplex that minimise the problem's loss.

    SLSQP from the even mix and from the best single member (the any-severe term is not
    convex); the better end wins. Without labelled cells the weights are even. Raises
    SpinegradeError when neither start converges.
    """
    members = len(problem.values)
    even = np.full(members, 1.0 / members)
    if members == 1 or len(problem.grade) == 0:
        return even
    objective = _Objective(problem)
    alone = [objective.loss_and_gradient(row)[0] for row in np.eye(members)]
    near_best = 0.9 * np.eye(members)[int(np.argmin(alone))] + 0.1 * even
    best, best_loss, messages = even, np.inf, []
    for start in (even, near_best):
        found = minimize(
            objective.loss_and_gradient,
            start,
            jac=True,
            method="SLSQP",
            bounds=[(0.0, 1.0)] * members,
            constraints={
                "type": "eq",
                "fun": lambda weights: weights.sum() - 1.0,
                "jac": lambda weights: np.ones(members),
            },
            options={"maxiter": 200, "ftol": 1e-9},
        )
        messages.append(str(found.message))
        weights = np.where(found.x < 1e-6, 0.0, found.x)
        if not np.isfinite(weights).all() or weights.sum() <= 0.0:
            continue
        weights /= weights.sum()
        loss = objective.loss_and_gradient(weights)[0]
        if loss < best_loss:
            best, best_loss = weights, loss
    if not np.isfinite(best_loss):
        raise SpinegradeError(
            f"ensemble: the weights of {members} members could not be fitted "
            f"({'; '.join(messages)}); look for a member whose probabilities are all alike"
        )
    return best


def fit_calibration(problem: Problem, mixed: np.ndarray, spread: float) -> tuple[float, float]:
    """Temperature and severe factor for mixed probabilities (n, 3), held near one.

    The penalty is that of a normal prior of standard deviation ``spread`` on both
    logarithms, counted against the cells' summed sample weights: few labels move little.
    """
    if len(problem.grade) == 0:
        return 1.0, 1.0
    objective = _Objective(problem)
    strength = 0.5 / (spread**2 * objective.total_weight)

    def penalised(logs: np.ndarray) -> float:
        temperature, factor = np.exp(logs)
        calibrated = calibrate(mixed, float(temperature), float(factor))
        return objective.loss(calibrated) + strength * float((logs**2).sum())

    limits = [(-_MOST_LOG, _MOST_LOG)] * 2
    found = minimize(penalised, np.zeros(2), method="L-BFGS-B", bounds=limits)
    if not np.isfinite(found.fun) or found.fun >= penalised(np.zeros(2)):
        return 1.0, 1.0
    temperature, factor = np.exp(found.x)
    return float(temperature), float(factor)
