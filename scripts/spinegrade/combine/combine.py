"""The ensemble over a board, cross-fitted: no cell helps to weigh what it is scored with.

The weights and the calibration of fold k are fitted on the out-of-fold probabilities of the
other folds; studies in no fold get those fitted on all folds. How much of them counts, and
whether a condition is calibrated at all, is decided by a second cross-fit inside the folds that a
fit may see (``shrink``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spinegrade.combine.blend import Combination
from spinegrade.combine.board import NO_FOLD, Board
from spinegrade.combine.fit import fit_calibration, fit_pruned, fit_weights, prune_weights
from spinegrade.combine.objective import Objective, Problem
from spinegrade.combine.settings import FitSettings, Fitted
from spinegrade.combine.shrink import (
    STRENGTHS,
    along_calibration,
    along_weights,
    calibration_strengths,
    common_strength,
    inner_parts,
    is_clear,
    shrunk,
)
from spinegrade.errors import SpinegradeError


@dataclass(frozen=True)
class _Draft:
    """A fit of one condition's weights before it is known how much of it counts.

    ``fitted`` (members,): as the optimum has them; ``inner``: by part left out its mask (n,)
    among the objective's cells, the objective of the others and the weights fitted there.
    """

    objective: Objective
    fitted: np.ndarray
    inner: list[tuple[np.ndarray, Objective, np.ndarray]]


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
            board.region.grade_weights,
            board.region.conditions[code] == board.region.overall,
            settings.blend,
        )

    def training(self, left_out: int | None) -> np.ndarray:
        """The cells (n,) bool that may be fitted on where the fold ``left_out`` may not."""
        return self.labelled & (self.fold != NO_FOLD) & (self.fold != left_out)

    def draft(self, left_out: int | None) -> _Draft:
        """Fit the weights on the training cells, and again without each part of them."""
        training = self.training(left_out)
        problem = self.problem.part(training)
        objective = Objective(problem)
        fitted = fit_weights(objective, self.allowed)
        inner = []
        if "auto" in (self.settings.shrinkage, self.settings.calibration):
            for held in inner_parts(self.fold[training], problem.study):
                others = Objective(problem.part(~held))
                weights, _ = fit_pruned(others, self.allowed, self.settings.prune, fitted)
                inner.append((held, others, weights))
        return _Draft(objective, fitted, inner)

    def losses_of_weights(self, draft: _Draft) -> tuple[np.ndarray, np.ndarray]:
        """The studies' codes, and their losses (strengths, studies) on cells left out."""
        problem = draft.objective.problem
        if not draft.inner:
            return np.empty(0, np.int64), np.empty((len(STRENGTHS), 0))
        mixes = np.empty((len(STRENGTHS), len(problem.grade), 3))
        plain = self._shrunk(draft.fitted, self.allowed, 0.0)
        for held, _, weights in draft.inner:
            mixes[:, held] = along_weights(problem.part(held), plain, weights)
        losses = [draft.objective.study_losses(mixed) for mixed in mixes]
        return np.unique(problem.study), np.stack(losses)

    def weighed(self, draft: _Draft, strength: float) -> Combination:
        """The combination with ``strength`` of the draft's weights, not calibrated."""
        # Weights that no labelled cell speaks for are no step worth taking.
        strength = strength if draft.objective.total_weight else 0.0
        weights, pruned = self._pruned(draft.objective, draft.fitted, self.allowed, strength)
        blend = self.settings.blend
        return Combination(weights, blend=blend, pruned=pruned, weight_strength=strength)

    def _shrunk(self, fitted: np.ndarray, allowed: np.ndarray, strength: float) -> np.ndarray:
        return shrunk(fitted, allowed, self.rows > 0, strength)

    def _pruned(
        self, objective: Objective, fitted: np.ndarray, allowed: np.ndarray, strength: float
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        def shrink(weights: np.ndarray, among: np.ndarray) -> np.ndarray:
            return self._shrunk(weights, among, strength)

        return prune_weights(objective, fitted, allowed, self.settings.prune, shrink)

    def calibrated(self, objective: Objective, found: Combination, strength: float) -> Combination:
        """``found`` with ``strength`` of the calibration that is fitted on its mix."""
        if strength == 0.0:
            return found
        objective = self._graded(objective)
        mixed = objective.problem.mixed(found.weights)
        temperature, factor = fit_calibration(objective, mixed, self.settings.spread)
        return replace(
            found,
            temperature=temperature**strength,
            severe_factor=factor**strength,
            calibration_strength=strength,
        )

    def _graded(self, objective: Objective) -> Objective:
        """The objective of the cells that a member graded: the others stay the prior as it is."""
        seen = self.seen[objective.problem.cells]
        return objective if seen.all() else Objective(objective.problem.part(seen))

    def losses_of_calibration(
        self, draft: _Draft, strength: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """As ``losses_of_weights``, along the calibration of weights at ``strength``."""
        problem = draft.objective.problem
        if not draft.inner:
            return np.empty(0, np.int64), np.empty((len(STRENGTHS), 0))
        mixes = np.empty((len(STRENGTHS), len(problem.grade), 3))
        for held, others, fitted in draft.inner:
            weights, graded = self._shrunk(fitted, self.allowed, strength), self._graded(others)
            found = fit_calibration(graded, graded.problem.mixed(weights), self.settings.spread)
            mixes[:, held] = along_calibration(problem.part(held).mixed(weights), *found)
        unseen = ~self.seen[problem.cells]
        mixes[:, unseen] = mixes[0, unseen]
        losses = [draft.objective.study_losses(mixed) for mixed in mixes]
        return np.unique(problem.study), np.stack(losses)

    def without(self, member: int, found: Combination, objective: Objective) -> Combination:
        """``found`` fitted again on the same cells without the row ``member`` of the values.

        It starts from the weights that are left, and takes as much of the weights and of the
        calibration as ``found`` does.
        """
        allowed = self.allowed.copy()
        allowed[member] = False
        if not allowed.any():
            allowed[0] = True
        fitted = fit_weights(objective, allowed, np.where(allowed, found.weights, 0.0))
        weights, pruned = self._pruned(objective, fitted, allowed, found.weight_strength)
        again = replace(found, weights=weights, pruned=pruned, temperature=1.0, severe_factor=1.0)
        return self.calibrated(objective, again, found.calibration_strength)

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


def _strengths(
    settings: FitSettings, drafts: list[tuple[_Fitter, _Draft]]
) -> tuple[float, list[float]]:
    """How much of the weights counts, in all conditions, and of each one's calibration."""
    shrink = settings.shrinkage == "auto"
    strength = 1.0
    if shrink:
        strength = common_strength([fitter.losses_of_weights(draft) for fitter, draft in drafts])
    if settings.calibration != "auto":
        return strength, [float(settings.calibration == "always")] * len(drafts)
    parts = [fitter.losses_of_calibration(draft, strength) for fitter, draft in drafts]
    if shrink:
        return strength, calibration_strengths(parts)
    return strength, [float(is_clear(losses[0] - losses[-1])) for _, losses in parts]


def fit_combinations(
    board: Board, settings: FitSettings | None = None
) -> tuple[Fitted, np.ndarray, np.ndarray]:
    """Fit the ensemble; return what was fitted, and cross-fitted and in-sample (n, 3).

    Studies in no fold have the same probabilities in both arrays. Raises SpinegradeError with
    fewer than two folds.
    """
    settings, conditions = settings or FitSettings(), board.region.conditions
    folds = sorted(int(fold) for fold in np.unique(board.fold) if fold != NO_FOLD)
    if len(folds) < 2:
        raise SpinegradeError(
            f"ensemble: the studies lie in {len(folds)} fold(s); cross-fitting needs two or more",
            code="COMBINE_ONE_FOLD",
        )
    cross_fitted, in_sample = np.empty((2, len(board.fold), 3))
    fitted = Fitted({}, {}, {fold: {} for fold in folds})
    fitters = [_Fitter(board, code, settings) for code in range(len(conditions))]
    for condition, fitter in zip(conditions, fitters, strict=True):
        names = tuple(board.members[row] for row in fitter.rows[fitter.allowed])
        fitted.members[condition] = names
    for left_out in (None, *folds):
        drafts = [fitter.draft(left_out) for fitter in fitters]
        strength, parts = _strengths(settings, list(zip(fitters, drafts, strict=True)))
        for code, (condition, fitter, draft) in enumerate(
            zip(conditions, fitters, drafts, strict=True)
        ):
            found = fitter.weighed(draft, strength)
            found = fitter.calibrated(draft.objective, found, parts[code])
            held = fitter.fold == (NO_FOLD if left_out is None else left_out)
            given = fitter.combined(found, held)
            cross_fitted[np.flatnonzero(fitter.chosen)[held]] = given
            if left_out is None:
                fitted.whole[condition] = fitter.named(found)
                everything = np.ones(len(held), bool)
                in_sample[fitter.chosen] = fitter.combined(found, everything)
            else:
                fitted.by_fold[left_out][condition] = fitter.named(found)
            if settings.leave_one_out:
                _leave_one_out(board, fitter, held, given, found, draft.objective, fitted.without)
    for name, lacking in fitted.without.items():
        # Conditions that the member has no part in are those of the whole ensemble.
        fitted.without[name] = np.where(np.isnan(lacking), cross_fitted, lacking)
    return fitted, cross_fitted, in_sample


def _leave_one_out(
    board: Board,
    fitter: _Fitter,
    held: np.ndarray,
    given: np.ndarray,
    found: Combination,
    objective: Objective,
    without: dict[str, np.ndarray],
) -> None:
    """Add one fold of a condition to ``without``: its cells as an ensemble without each member
    has them.

    ``given``: what the ensemble gives the cells ``held``. Where a member has no weight the
    ensemble is already one without it, and where no cell has a label nothing is compared.
    """
    cells = np.flatnonzero(fitter.chosen)[held]
    for place in np.flatnonzero(fitter.allowed):
        lacking = given
        if found.weights[place] > 0.0 and fitter.labelled[held].any():
            again = fitter.without(int(place), found, objective)
            lacking = fitter.combined(again, held)
        name = board.members[fitter.rows[place]]
        without.setdefault(name, np.full((len(board.fold), 3), np.nan))[cells] = lacking
