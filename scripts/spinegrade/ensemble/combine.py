"""The ensemble over a board, cross-fitted: no cell helps to weigh what it is scored with.

The weights and the calibration of fold k are fitted on the out-of-fold probabilities of the
other folds; studies in no fold get those fitted on all folds. Whether to calibrate a
condition at all is decided by a second cross-fit inside the folds that a fit may see.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from spinegrade.ensemble.blend import BLENDS, Combination
from spinegrade.ensemble.board import NO_FOLD, Board
from spinegrade.ensemble.fit import clearly_better, fit_calibration, fit_pruned
from spinegrade.ensemble.objective import Objective, Problem
from spinegrade.errors import SpinegradeError
from spinegrade.names import CONDITIONS, SPINAL

CALIBRATIONS = ("never", "always", "auto")


@dataclass(frozen=True)
class FitSettings:
    """How the ensemble is fitted; see ``resources/schemas/config/ensemble.yaml``.

    ``spread`` is the standard deviation of the prior on the logarithms of temperature and
    severe factor; ``prune`` the least weight that is kept. Raises SpinegradeError for a blend
    or a calibration that there is not.
    """

    prior_member: bool = True
    blend: str = "probabilities"
    calibration: str = "auto"
    spread: float = 0.25
    prune: float = 0.0
    leave_one_out: bool = False

    def __post_init__(self) -> None:
        for key, allowed in (("blend", BLENDS), ("calibration", CALIBRATIONS)):
            value = getattr(self, key)
            if value not in allowed:
                raise SpinegradeError(f"ensemble.{key} is {value!r}; allowed: {', '.join(allowed)}")


@dataclass(frozen=True)
class Fitted:
    """What was fitted: by condition, for all folds together and for each fold left out.

    ``members`` gives the names that each condition's weights belong to. ``without``: by member
    the cross-fitted probabilities (n, 3) of an ensemble that lacks it; empty unless asked for.
    """

    members: dict[str, tuple[str, ...]]
    whole: dict[str, Combination]
    by_fold: dict[int, dict[str, Combination]]
    without: dict[str, np.ndarray] = field(default_factory=dict)


class _Fitter:
    """One condition: its problem on all cells, which of them may be fitted on, and how."""

    def __init__(self, board: Board, code: int, settings: FitSettings) -> None:
        self.settings = settings
        self.chosen = board.condition == code
        takes_part = member_rows(board, code, settings.prior_member)
        # The prior stands by even where it is no member: for whoever is left when all go.
        self.rows = np.union1d([0], takes_part)
        self.allowed = np.isin(self.rows, takes_part)
        self.values = board.values[self.rows][:, self.chosen]
        self.seen = board.seen[self.chosen]
        self.fold = board.fold[self.chosen]
        self.labelled = board.grade[self.chosen] >= 0
        self.problem = Problem.of(
            self.values,
            board.grade[self.chosen],
            board.study[self.chosen],
            CONDITIONS[code] == SPINAL,
            settings.blend,
        )

    def training(self, left_out: int | None) -> np.ndarray:
        """The cells (n,) bool that may be fitted on where the fold ``left_out`` may not."""
        return self.labelled & (self.fold != NO_FOLD) & (self.fold != left_out)

    def fit(self, left_out: int | None) -> tuple[Combination, Objective]:
        """Fit on the training cells; the objective comes back for fits without a member."""
        training = self.training(left_out)
        objective = Objective(self.problem.part(training))
        weights, pruned = fit_pruned(objective, self.allowed, self.settings.prune)
        always = self.settings.calibration == "always"
        if self.settings.calibration == "auto":
            always = self._calibration_helps(objective.problem, self.fold[training], weights)
        found = Combination(weights, blend=self.settings.blend, pruned=pruned)
        return (self._calibrated(objective, found) if always else found), objective

    def _calibrated(self, objective: Objective, found: Combination) -> Combination:
        seen = self.seen[objective.problem.cells]
        if not seen.all():  # what no member graded stays the prior, and says nothing here
            objective = Objective(objective.problem.part(seen))
        mixed = objective.problem.mixed(found.weights)
        temperature, factor = fit_calibration(objective, mixed, self.settings.spread)
        return replace(found, temperature=temperature, severe_factor=factor)

    def _calibration_helps(self, problem: Problem, fold: np.ndarray, warm: np.ndarray) -> bool:
        """Whether calibrating clearly lowers the loss, cross-fitted over the problem's folds.

        ``warm``: weights fitted on the whole problem; both sides of the question start there.
        """
        folds = np.unique(fold)
        if len(folds) < 2:
            return False
        plain, calibrated = np.empty((2, len(fold), 3))
        for left_out in folds:
            held = fold == left_out
            objective = Objective(problem.part(~held))
            weights, _ = fit_pruned(objective, self.allowed, self.settings.prune, warm)
            inner = self._calibrated(objective, Combination(weights, blend=problem.blend))
            plain[held] = problem.part(held).mixed(weights)
            calibrated[held] = inner.calibrated(plain[held])
        unseen = ~self.seen[problem.cells]
        calibrated[unseen] = plain[unseen]
        return clearly_better(problem, calibrated, plain)

    def without(self, member: int, found: Combination, objective: Objective) -> Combination:
        """``found`` fitted again on the same cells without the row ``member`` of the values.

        It starts from the weights that are left, and is calibrated where ``found`` is.
        """
        allowed = self.allowed.copy()
        allowed[member] = False
        if not allowed.any():
            allowed[0] = True
        warm = np.where(allowed, found.weights, 0.0)
        weights, pruned = fit_pruned(objective, allowed, self.settings.prune, warm)
        again = Combination(weights, blend=found.blend, pruned=pruned)
        calibrated = (found.temperature, found.severe_factor) != (1.0, 1.0)
        return self._calibrated(objective, again) if calibrated else again

    def combined(self, found: Combination, held: np.ndarray) -> np.ndarray:
        """What ``found`` makes (k, 3) of the k cells where the mask ``held`` (n,) holds."""
        return found.apply(self.values[:, held], self.seen[held])

    def named(self, found: Combination) -> Combination:
        """``found`` with the weights of the members alone, without the prior that stands by."""
        place = np.cumsum(self.allowed) - 1
        pruned = tuple(int(place[row]) for row in found.pruned)
        return replace(found, weights=found.weights[self.allowed], pruned=pruned)


def member_rows(board: Board, code: int, prior_member: bool) -> np.ndarray:
    """Rows of ``board.values`` that take part in condition ``code``.

    The prior takes part when asked to, and wherever nothing else serves the condition.
    """
    served = board.served[:, code].copy()
    if not prior_member and served[1:].any():
        served[0] = False
    return np.flatnonzero(served)


def fit_combinations(
    board: Board, settings: FitSettings | None = None
) -> tuple[Fitted, np.ndarray, np.ndarray]:
    """Fit the ensemble; return what was fitted, and cross-fitted and in-sample (n, 3).

    Studies in no fold have the same probabilities in both arrays. Raises SpinegradeError with
    fewer than two folds.
    """
    settings = settings or FitSettings()
    folds = sorted(int(fold) for fold in np.unique(board.fold) if fold != NO_FOLD)
    if len(folds) < 2:
        raise SpinegradeError(
            f"ensemble: the studies lie in {len(folds)} fold(s); cross-fitting needs two or more"
        )
    cross_fitted, in_sample = np.empty((2, len(board.fold), 3))
    fitted = Fitted({}, {}, {fold: {} for fold in folds})
    for code, condition in enumerate(CONDITIONS):
        fitter = _Fitter(board, code, settings)
        fitted.members[condition] = tuple(board.members[row] for row in fitter.rows[fitter.allowed])
        combined = np.empty((len(fitter.fold), 3))
        refits: list[tuple[np.ndarray, Combination, Objective]] = []
        for left_out in (None, *folds):
            found, objective = fitter.fit(left_out)
            held = fitter.fold == (NO_FOLD if left_out is None else left_out)
            combined[held] = fitter.combined(found, held)
            if left_out is None:
                fitted.whole[condition] = fitter.named(found)
                everything = np.ones(len(held), bool)
                in_sample[fitter.chosen] = fitter.combined(found, everything)
            else:
                fitted.by_fold[left_out][condition] = fitter.named(found)
            if settings.leave_one_out and fitter.labelled[held].any():
                refits.append((held, found, objective))
        cross_fitted[fitter.chosen] = combined
        if settings.leave_one_out:
            _leave_one_out(board, fitter, combined, refits, fitted.without)
    for name, lacking in fitted.without.items():
        # Conditions that the member has no part in are those of the whole ensemble.
        fitted.without[name] = np.where(np.isnan(lacking), cross_fitted, lacking)
    return fitted, cross_fitted, in_sample


def _leave_one_out(
    board: Board,
    fitter: _Fitter,
    combined: np.ndarray,
    refits: list[tuple[np.ndarray, Combination, Objective]],
    without: dict[str, np.ndarray],
) -> None:
    """Add one condition to ``without``: each member's cells as an ensemble without it has them.

    Where a member has no weight the ensemble is already one without it.
    """
    for place in np.flatnonzero(fitter.allowed):
        lacking = combined.copy()
        for held, found, objective in refits:
            if found.weights[place] > 0.0:
                again = fitter.without(int(place), found, objective)
                lacking[held] = fitter.combined(again, held)
        name = board.members[fitter.rows[place]]
        without.setdefault(name, np.full((len(board.fold), 3), np.nan))[fitter.chosen] = lacking
