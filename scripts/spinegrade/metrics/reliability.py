"""What a report shows beside the score: calibration, confusion, scores by condition and level.

All take matched ``LabelledCells`` and their probabilities (n, 3) float64, as ``cells.match`` gives.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from spinegrade.metrics.cells import LabelledCells
from spinegrade.metrics.log_loss import cell_losses


def _weights(cells: LabelledCells) -> np.ndarray:
    return np.asarray(cells.region.grade_weights)


def _of_condition(cells: LabelledCells, condition: str | None) -> np.ndarray:
    if condition is None:
        return np.ones(len(cells), dtype=bool)
    return cells.condition == cells.region.conditions.index(condition)


def calibration_curve(
    cells: LabelledCells,
    probabilities: np.ndarray,
    grade: int,
    condition: str | None = None,
    bins: int = 10,
    weighted: bool = True,
) -> pd.DataFrame:
    """Mean predicted probability of ``grade`` against how often it is true, by bin.

    Bins are equally wide on [0, 1]; empty ones are left out. With ``weighted`` each cell
    counts with its sample weight 1, 2, 4: probabilities that minimise the competition's
    score are calibrated to the weighted frequencies, not to the plain ones.

    Returns columns low, high, count, predicted, observed; one row a bin that holds cells.
    """
    chosen = _of_condition(cells, condition)
    predicted = probabilities[chosen, grade]
    truth = cells.grade[chosen]
    weight = _weights(cells)[truth] if weighted else np.ones(len(truth))
    place = np.minimum((predicted * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    total = np.bincount(place, weight, minlength=bins)
    held = count > 0
    edges = np.linspace(0.0, 1.0, bins + 1)
    return pd.DataFrame(
        {
            "low": edges[:-1][held],
            "high": edges[1:][held],
            "count": count[held],
            "predicted": np.bincount(place, weight * predicted, bins)[held] / total[held],
            "observed": np.bincount(place, weight * (truth == grade), bins)[held] / total[held],
        }
    )


def calibration_error(curve: pd.DataFrame) -> float:
    """Expected calibration error: mean gap of a calibration curve, by the cells in its bins."""
    if curve.empty:
        return 0.0
    gap = (curve["predicted"] - curve["observed"]).abs()
    return float(np.average(gap, weights=curve["count"]))


def confusion(
    cells: LabelledCells, probabilities: np.ndarray, condition: str | None = None
) -> pd.DataFrame:
    """Counts (3, 3): true grade by row, likeliest grade by column (ties: the milder one).

    The likeliest grade under the plain frequencies: probabilities that minimise the score
    carry the sample weights 1, 2, 4, and are divided by them first.
    """
    chosen = _of_condition(cells, condition)
    likeliest = (probabilities[chosen] / _weights(cells)).argmax(axis=1)
    counts = np.bincount(cells.grade[chosen] * 3 + likeliest, minlength=9).reshape(3, 3)
    names = list(cells.region.grade_names)
    return pd.DataFrame(counts, index=pd.Index(names, name="truth"), columns=names)


def level_table(cells: LabelledCells, probabilities: np.ndarray) -> pd.DataFrame:
    """Weighted log loss by condition and level, with the count of each grade.

    Columns condition, level, count, normal_mild, moderate, severe, log_loss; one row a
    condition and level that has labelled cells, then one a condition with level "all".
    """
    loss, weight = cell_losses(probabilities, cells.grade, cells.region.grade_weights)
    rows = []
    for code, condition in enumerate(cells.region.conditions):
        for level in (*cells.region.levels, "all"):
            chosen = cells.condition == code
            if level != "all":
                chosen &= cells.level == level
            if not chosen.any():
                continue
            grades = np.bincount(cells.grade[chosen], minlength=len(cells.region.grades))
            rows.append(
                {
                    "condition": condition,
                    "level": level,
                    "count": int(chosen.sum()),
                    **dict(zip(cells.region.grade_names, (int(n) for n in grades), strict=True)),
                    "log_loss": float(np.average(loss[chosen], weights=weight[chosen])),
                }
            )
    return pd.DataFrame(rows)


def study_losses(cells: LabelledCells, probabilities: np.ndarray) -> pd.Series:
    """Mean weighted log loss of each study's labelled cells, by study id, worst first."""
    loss, weight = cell_losses(probabilities, cells.grade, cells.region.grade_weights)
    total = np.bincount(cells.study, weight * loss, minlength=len(cells.studies))
    mean = total / np.bincount(cells.study, weight, minlength=len(cells.studies))
    series = pd.Series(mean, index=pd.Index(cells.studies, name="study"), name="log_loss")
    return series.sort_values(ascending=False, kind="stable")
