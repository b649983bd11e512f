"""The score of the RSNA 2024 lumbar spine competition, on long tables and on arrays.

Per condition the log loss of the true grade, sample-weighted 1, 2, 4 for normal or mild,
moderate, severe; for the canal also a binary log loss a study of "any level severe"; the
score is the mean of the four. Both are the competition's published metric, with the rows
joined by key.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.metrics.cells import match
from spinegrade.metrics.log_loss import cell_losses, negative_log
from spinegrade.metrics.score import StudySums, score_cells
from spinegrade.regions.lumbar_mri import CONDITIONS, LUMBAR_MRI, SPINAL

PARTS = ("spinal", "foraminal", "subarticular", "any_severe")
"""The four parts of the score, the first three in the order of ``CONDITIONS``."""
PART_CONDITIONS = (*CONDITIONS, SPINAL)
"""The condition whose cells each part sums."""

_SPINAL = CONDITIONS.index(SPINAL)


@dataclass(frozen=True)
class Score:
    """The score and its four parts; lower is better, 0 is perfect."""

    total: float
    spinal: float
    foraminal: float
    subarticular: float
    any_severe: float

    def as_dict(self) -> dict[str, float]:
        """The five numbers by name."""
        return asdict(self)


def study_sums(
    condition: np.ndarray,
    grade: np.ndarray,
    study: np.ndarray,
    probabilities: np.ndarray,
    studies: int,
) -> StudySums:
    """Loss and weight by study and part.

    Args:
        condition: (n,) codes into ``CONDITIONS``.
        grade: (n,) grades 0, 1, 2; cells without a grade are not among the n.
        study: (n,) codes from 0 to ``studies`` - 1.
        probabilities: (n, 3) float64, rows summing to one.
        studies: number of studies.
    """
    loss, weight = cell_losses(probabilities, grade, LUMBAR_MRI.grade_weights)
    loss = weight * loss
    place = study * 4 + condition
    losses = np.bincount(place, loss, minlength=4 * studies).reshape(studies, 4)
    weights = np.bincount(place, weight, minlength=4 * studies).reshape(studies, 4)
    # Any severe: over the labelled canal levels of a study the largest truth, the largest
    # severe probability and the largest sample weight. A study without one adds nothing.
    canal = condition == _SPINAL
    largest = np.zeros((3, studies))
    for row, values in enumerate((grade[canal] == 2, probabilities[canal, 2], weight[canal])):
        np.maximum.at(largest[row], study[canal], values.astype(np.float64))
    truth, severe, heaviest = largest
    losses[:, 3] = heaviest * negative_log(np.where(truth > 0, severe, 1.0 - severe))
    weights[:, 3] = heaviest
    return StudySums(losses, weights, "rsna2024")


def score_sums(loss: np.ndarray, weight: np.ndarray) -> Score:
    """The score from summed losses (4,) and weights (4,); refuses a part without labels."""
    for part, total in zip(PARTS, weight, strict=True):
        if not total > 0.0:
            raise SpinegradeError(
                f"the score cannot be computed: no labelled cell for its part {part!r}; "
                "give labels that cover all three conditions",
                code="SCORE_WITHOUT_LABELS",
            )
    parts = [float(value) for value in loss / weight]
    return Score(float(np.mean(parts)), *parts)


def score_arrays(
    condition: np.ndarray, grade: np.ndarray, study: np.ndarray, probabilities: np.ndarray
) -> Score:
    """The score of arrays that are already matched; see ``study_sums`` for their meaning.

    Nothing is checked: for fits, bootstraps and simulations that call it many times.
    """
    sums = study_sums(condition, grade, study, probabilities, int(study.max(initial=-1)) + 1)
    return sums.score()


def score(labels: pd.DataFrame, probabilities: pd.DataFrame) -> Score:
    """The competition's score of a prediction table against labels, joined by key.

    ``labels``: study, condition, level, side, grade (0, 1, 2; a missing grade is left out).
    ``probabilities``: study, condition, level, side, p_normal_mild, p_moderate, p_severe;
    row order does not matter and predictions of unlabelled cells are allowed.

    Raises SpinegradeError, with the row named, for negative or non-finite probabilities,
    rows whose sum is off by more than 1e-3 (smaller errors are divided out), duplicated
    rows, labelled cells without a prediction and unknown conditions or grades; and when a
    condition has no labelled cell at all.
    """
    cells, matched = match(LUMBAR_MRI, labels, probabilities)
    return score_cells(cells, matched[0])
