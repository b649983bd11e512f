"""The ensemble over a board, cross-fitted: no cell helps to weigh what it is scored with.

The weights and the calibration of fold k are fitted on the out-of-fold probabilities of the
other folds; studies in no fold get those fitted on all folds. Whether to calibrate a
condition at all is decided by a second cross-fit inside the folds that a fit may see.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spinegrade.ensemble.board import NO_FOLD, Board
from spinegrade.ensemble.fit import (
    Combination,
    Problem,
    clearly_better,
    fit_calibration,
    fit_weights,
    mix,
)
from spinegrade.errors import SpinegradeError
from spinegrade.names import CONDITIONS, SPINAL

CALIBRATIONS = ("never", "always", "auto")


@dataclass(frozen=True)
class Fitted:
    """What was fitted: by condition, for all folds together and for each fold left out.

    ``members`` gives the names that each condition's weights belong to.
    """

    members: dict[str, tuple[str, ...]]
    whole: dict[str, Combination]
    by_fold: dict[int, dict[str, Combination]]

    def as_dict(self) -> dict[str, object]:
        """weights.json: numbers rounded to nine decimals, keys as text."""

        def described(part: dict[str, Combination]) -> dict[str, object]:
            return {
                condition: {
                    "weights": {
                        name: round(float(weight), 9)
                        for name, weight in zip(
                            self.members[condition], combination.weights, strict=True
                        )
                    },
                    "temperature": round(combination.temperature, 9),
                    "severe_factor": round(combination.severe_factor, 9),
                }
                for condition, combination in part.items()
            }

        folds = {str(fold): described(part) for fold, part in self.by_fold.items()}
        return {"all_folds": described(self.whole), "without_fold": folds}


def _fit(problem: Problem, fold: np.ndarray, calibration: str, spread: float) -> Combination:
    """Weights, and a calibration where it always is or, for ``auto``, where it helps inside."""
    weights = fit_weights(problem)
    if calibration == "auto":
        calibration = "always" if _calibration_helps(problem, fold, spread) else "never"
    if calibration == "never":
        return Combination(weights)
    temperature, factor = fit_calibration(problem, mix(problem.values, weights), spread)
    return Combination(weights, temperature, factor)


def _calibration_helps(problem: Problem, fold: np.ndarray, spread: float) -> bool:
    """Whether calibrating clearly lowers the loss, cross-fitted over the problem's folds."""
    folds = np.unique(fold)
    if len(folds) < 2:
        return False
    plain, calibrated = np.empty((2, len(fold), 3))
    for left_out in folds:
        held = fold == left_out
        training = problem.part(~held)
        found = _fit(training, fold[~held], "always", spread)
        plain[held] = mix(problem.values[:, held], found.weights)
        calibrated[held] = found.apply(problem.values[:, held])
    return clearly_better(problem, calibrated, plain)


def member_rows(board: Board, code: int, prior_member: bool) -> np.ndarray:
    """Rows of ``board.values`` that take part in condition ``code``.

    The prior takes part when asked to, and wherever nothing else serves the condition.
    """
    served = board.served[:, code].copy()
    if not prior_member and served[1:].any():
        served[0] = False
    return np.flatnonzero(served)


def fit_combinations(
    board: Board, prior_member: bool = True, calibration: str = "auto", spread: float = 0.25
) -> tuple[Fitted, np.ndarray, np.ndarray]:
    """Fit the ensemble; return what was fitted, and cross-fitted and in-sample (n, 3).

    ``calibration`` is never, always or auto (for the conditions where a cross-fit inside the
    training folds says that it helps); ``spread`` is the standard deviation of the prior on
    the logarithms of temperature and severe factor. Studies in no fold have the same
    probabilities in both arrays. Raises SpinegradeError with fewer than two folds.
    """
    if calibration not in CALIBRATIONS:
        raise SpinegradeError(
            f"ensemble.calibration is {calibration!r}; allowed: {', '.join(CALIBRATIONS)}"
        )
    folds = sorted(int(fold) for fold in np.unique(board.fold) if fold != NO_FOLD)
    if len(folds) < 2:
        raise SpinegradeError(
            f"ensemble: the studies lie in {len(folds)} fold(s); cross-fitting needs two or more"
        )
    cross_fitted, in_sample = np.empty((2, len(board.fold), 3))
    members: dict[str, tuple[str, ...]] = {}
    whole: dict[str, Combination] = {}
    by_fold: dict[int, dict[str, Combination]] = {fold: {} for fold in folds}
    for code, condition in enumerate(CONDITIONS):
        chosen = board.condition == code
        rows = member_rows(board, code, prior_member)
        members[condition] = tuple(board.members[row] for row in rows)
        values = board.values[rows][:, chosen]
        fold = board.fold[chosen]
        usable = (board.grade[chosen] >= 0) & (fold != NO_FOLD)
        everything = Problem(values, board.grade[chosen], board.study[chosen], condition == SPINAL)
        whole[condition] = _fit(everything.part(usable), fold[usable], calibration, spread)
        combined = whole[condition].apply(values)
        in_sample[chosen] = combined
        for left_out in folds:
            training = usable & (fold != left_out)
            found = _fit(everything.part(training), fold[training], calibration, spread)
            by_fold[left_out][condition] = found
            held = fold == left_out
            combined[held] = found.apply(values[:, held])
        cross_fitted[chosen] = combined
    return Fitted(members, whole, by_fold), cross_fitted, in_sample


def apply_combinations(board: Board, weights: dict[str, dict]) -> np.ndarray:
    """Combine a board with the ``all_folds`` part of a weights.json; returns (n, 3).

    A member's weight falls to the prior where the member is filled. Raises SpinegradeError
    for a member that the board lacks.
    """
    combined = np.empty((len(board.fold), 3))
    for code, condition in enumerate(CONDITIONS):
        part = weights[condition]
        rows = []
        for name in part["weights"]:
            if name not in board.members:
                raise SpinegradeError(
                    f"the ensemble's weights for {condition} name the member {name!r}, which "
                    f"this run does not have; it has {', '.join(board.members)}"
                )
            rows.append(board.members.index(name))
        chosen = board.condition == code
        combination = Combination(
            np.array(list(part["weights"].values())), part["temperature"], part["severe_factor"]
        )
        combined[chosen] = combination.apply(board.values[rows][:, chosen])
    return combined
