"""One condition's part of the competition's score as a function of weights or of a calibration.

The score is a sum of three problems, one a condition: the weighted log loss, and for the canal
the any-severe term with it. What the losses read of the members is laid out once a condition;
folds and members left out are slices of it. Gradients are analytic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spinegrade.combine.blend import from_space, mix_space, to_space

_TINY = 1e-12


@dataclass(frozen=True)
class Problem:
    """Cells of one condition, as a fit sees them.

    ``space`` (members, all, 3): what the blend averages, of all cells; ``cells`` (n,): the
    problem's among them; ``grade`` (n,), ``study`` (n,) any codes; ``grade_weights``: of
    the three grades; ``any_severe``: whether the
    any-severe term belongs to it (the canal). ``columns``, (members, n) each: for the blend of
    probabilities that of the true grade; for logits the two gaps to the true grade, log p_c -
    log p_true; with ``any_severe`` one more, of the grade severe.
    """

    space: np.ndarray
    cells: np.ndarray
    grade: np.ndarray
    study: np.ndarray
    grade_weights: tuple[float, ...]
    any_severe: bool
    blend: str
    columns: tuple[np.ndarray, ...]

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        grade: np.ndarray,
        study: np.ndarray,
        grade_weights: tuple[float, ...],
        any_severe: bool,
        blend: str = "probabilities",
    ) -> Problem:
        """The problem on members' probabilities ``values`` (members, n, 3) float64.

        Cells without a grade (-1) may be among them; a part without them is what can be fitted.
        """
        space = to_space(values, blend)
        rows, known = np.arange(len(grade)), np.maximum(grade, 0)
        own = space[:, rows, known]
        if blend == "probabilities":
            columns = [own, space[:, :, 2]] if any_severe else [own]
        else:
            gaps = [space[:, rows, (known + step) % 3] - own for step in (1, 2)]
            columns = [*gaps, space[:, :, 2] - own] if any_severe else gaps
        layout = tuple(np.ascontiguousarray(column) for column in columns)
        return cls(space, rows, grade, study, grade_weights, any_severe, blend, layout)

    def part(self, chosen: np.ndarray) -> Problem:
        """The problem on the cells where the mask ``chosen`` (n,) holds."""
        columns = tuple(column[:, chosen] for column in self.columns)
        cells, grade, study = self.cells[chosen], self.grade[chosen], self.study[chosen]
        return replace(self, cells=cells, grade=grade, study=study, columns=columns)

    def mixed(self, weights: np.ndarray) -> np.ndarray:
        """The members' mix (n, 3) with ``weights`` (members,), not calibrated."""
        return from_space(mix_space(self.space, weights, self.cells), self.blend)


class Objective:
    """Loss of a problem, with its gradient by weights and by calibration.

    A problem without cells has no loss: ``total_weight`` is then 0 and nothing may be asked.
    """

    def __init__(self, problem: Problem) -> None:
        weight = np.asarray(problem.grade_weights)[problem.grade]
        self.problem = problem
        self.total_weight = float(weight.sum())
        if not len(weight):
            return
        self.share = weight / self.total_weight
        self.rows = np.arange(len(problem.grade))
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

    def _any_severe(self, chance_severe: np.ndarray) -> tuple[float, np.ndarray]:
        """The any-severe term from the studies' largest severe (studies,), and its slope by it."""
        right = np.where(self.severe, chance_severe, 1.0 - chance_severe)
        right = np.maximum(right, _TINY)
        loss = -float((self.study_share * np.log(right)).sum())
        return loss, np.where(self.severe, -1.0, 1.0) * self.study_share / right

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

    def by_weights(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss of the members' mix in the problem's blend, and its gradient (members,)."""
        if self.problem.blend == "logits":
            return self._of_logits(weights)
        own_of, *severe_of = self.problem.columns
        own = np.maximum(np.einsum("m,mn->n", weights, own_of), _TINY)
        value = float(-(self.share * np.log(own)).sum())
        gradient = -np.einsum("mn,n->m", own_of, self.share / own)
        if severe_of:
            mixed = np.einsum("m,mn->n", weights, severe_of[0])
            top = self._top(mixed)
            loss, slope = self._any_severe(mixed[top])
            value += loss
            gradient += np.einsum("mn,n->m", severe_of[0][:, top], slope)
        return value, gradient

    def _of_logits(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        # With the true grade's logit at zero: p_true = 1 / (1 + sum of exp(gap)).
        gaps, severe_of = self.problem.columns[:2], self.problem.columns[2:]
        odds = [np.exp(np.einsum("m,mn->n", weights, gap)) for gap in gaps]
        whole = 1.0 + odds[0] + odds[1]
        value = float((self.share * np.log(whole)).sum())
        chance = [part / whole for part in odds]
        gradient = sum(
            np.einsum("mn,n->m", gap, self.share * q) for gap, q in zip(gaps, chance, strict=True)
        )
        if severe_of:
            severe = np.exp(np.einsum("m,mn->n", weights, severe_of[0])) / whole
            top = self._top(severe)
            loss, slope = self._any_severe(severe[top])
            value += loss
            slope = slope * severe[top]
            gradient += np.einsum("mn,n->m", severe_of[0][:, top], slope)
            for gap, q in zip(gaps, chance, strict=True):
                gradient -= np.einsum("mn,n->m", gap[:, top], slope * q[top])
        return value, gradient

    def by_calibration(self, logs: np.ndarray, spoken: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss of a calibrated mix and its gradient (2,) by log temperature and log factor.

        ``logs``: the two logarithms; ``spoken`` (3, n): logarithms of the mix.
        """
        scaled = spoken * np.exp(-logs[0])
        scores = scaled.copy()
        scores[2] += logs[1]
        scores -= scores.max(axis=0)
        chance = np.exp(scores)
        whole = chance.sum(axis=0)
        chance /= whole
        own = np.maximum(chance[self.problem.grade, self.rows], _TINY)
        value = float(-(self.share * np.log(own)).sum())
        # By the score of each grade: share times (chance - truth).
        slope = chance * self.share
        slope[self.problem.grade, self.rows] -= self.share
        if self.problem.any_severe:
            top = self._top(chance[2])
            loss, by_severe = self._any_severe(chance[2, top])
            value += loss
            by_severe = by_severe * chance[2, top]
            added = -chance[:, top] * by_severe
            added[2] += by_severe
            slope[:, top] += added  # each study has one top cell, so none is named twice
        return value, np.array([-(slope * scaled).sum(), slope[2].sum()])
