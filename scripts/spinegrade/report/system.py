"""What the page of a system reads: the work of its learners and of their blends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from spinegrade.volumes import Stack


@dataclass(frozen=True)
class SystemRun:
    """Everything on the page of one system.

    ``members``: the graders whose predictions join. ``score`` and ``weights``: the whole blend's
    score.json and weights.json. ``families``: graders by family; ``comparison``: the whole
    against each family alone, None where there is one family. ``validations``: by grader that
    finds points too, its validation.json; ``faults``: comparisons of two graders that differ in
    one published fault. ``point_errors``: of every localiser and grader that finds points, as
    measured out of fold, with a column detector; ``keypoints``: by grader that finds points, its
    keypoints. ``anatomy``: by study, None where it is not known. ``histories``: by learner and
    fold. ``examples``: studies whose points are shown.
    """

    members: list[str]
    score: dict[str, Any]
    weights: dict[str, Any]
    families: Mapping[str, list[str]]
    comparison: dict[str, Any] | None
    validations: Mapping[str, dict[str, Any]]
    faults: list[dict[str, Any]]
    point_errors: pd.DataFrame
    keypoints: Mapping[str, pd.DataFrame]
    landmarks: pd.DataFrame
    anatomy: Mapping[str, str] | None
    histories: Mapping[str, dict[int, pd.DataFrame]]
    stacks: Mapping[tuple[str, str, int], Stack]
    examples: int

    @property
    def parts(self) -> list[str]:
        """The parts of the score that a member grades, in the score's order; all without one."""
        graded = {
            condition
            for condition, part in self.weights.get("all_folds", {}).items()
            if set(part["weights"]) - {"prior"}
        }
        found = [part for part, condition in PART_CONDITIONS.items() if condition in graded]
        return found or list(PART_CONDITIONS)


PART_CONDITIONS = {
    "spinal": "spinal_canal_stenosis",
    "foraminal": "neural_foraminal_narrowing",
    "subarticular": "subarticular_stenosis",
    "any_severe": "spinal_canal_stenosis",
}
"""The condition whose cells each part of the score is made of."""
