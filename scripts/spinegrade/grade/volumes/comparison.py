"""What a fault of training costs: two networks on the same studies, paired by study.

Made for ``flip: bugged`` against ``flip: fixed``: side confusion first, then the drift of points
towards the other side, then the loss.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.grade.volumes.validation import graded_parts, labelled_cells, predicted_cells
from spinegrade.metrics.cells import match
from spinegrade.metrics.rsna2024 import cell_sums
from spinegrade.metrics.study_bootstrap import StudyMeans, compare_means, study_means
from spinegrade.runtime.files import write_json
from spinegrade.tables.files import read_table
from spinegrade.tables.labels import LABELS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.targets import TARGETS, Target

# Outcome: the column of the point errors, and whether its size alone counts.
_OUTCOMES = {
    "side_confusion": ("other_side", False),
    "drift_slices": ("drift_slices", False),
    "slice_error": ("error_slices", True),
    "error_y_px": ("error_y_px", True),
}


class Run(NamedTuple):
    """A network's out-of-fold work: ``errors`` as of ``points.point_errors``, ``predictions``."""

    errors: pd.DataFrame
    predictions: pd.DataFrame


def compare_runs(
    first: Run,
    second: Run,
    labels: pd.DataFrame,
    target: Target,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """First minus second of each outcome over the studies of both, with 95 % intervals.

    Outcomes of points, each a mean over points: ``side_confusion`` and ``drift_slices`` (sided
    targets only), ``slice_error`` and ``error_y_px`` (sizes); of grades the weighted loss of the
    target's parts, over the labelled cells that both predict. Every value is {first, second,
    difference: {value, low, high}, studies}. The same resamples of studies serve both.
    """
    figures: dict[str, Any] = {}
    studies = sorted(set(first.errors["study"]) & set(second.errors["study"]))
    if not studies:
        raise SpinegradeError("the two networks have no study with points in common to compare")
    for outcome, (column, size) in _OUTCOMES.items():
        values = [run.errors[column].to_numpy(float) for run in (first, second)]
        if any(np.isnan(one).all() for one in values):
            continue  # a target without sides
        means = [
            study_means(run.errors["study"], np.abs(one) if size else one, studies)
            for run, one in zip((first, second), values, strict=True)
        ]
        figures[outcome] = compare_means(*means, resamples, seed).as_dict()
    wanted = labelled_cells(labels, target)
    for run in (first, second):
        wanted = predicted_cells(wanted, run.predictions)
    cells, probabilities = match(wanted, first.predictions, second.predictions)
    sums = [cell_sums(cells, values) for values in probabilities]
    for part, column in graded_parts(target).items():
        means = [StudyMeans(one.loss[:, column], one.weight[:, column]) for one in sums]
        figures[part] = compare_means(*means, resamples, seed).as_dict()
    return figures


def compare_flips(
    *,
    target: str,
    names: dict[str, str],
    errors_paths: dict[str, str],
    predictions_paths: dict[str, str],
    labels_path: str,
    comparison_path: str,
    resamples: int,
    seed: int,
) -> None:
    """Write ``compare_runs`` of the networks called "bugged" and "fixed" in each dictionary.

    ``names`` are theirs in the config. Both are compared as their ``tta`` says ("final" looks).
    """
    runs = {}
    for kind in ("bugged", "fixed"):
        errors = pd.read_parquet(errors_paths[kind])
        runs[kind] = Run(
            errors[errors["looks"] == "final"],
            read_table(predictions_paths[kind], PREDICTIONS),
        )
    labels = read_table(labels_path, LABELS)
    figures = compare_runs(runs["bugged"], runs["fixed"], labels, TARGETS[target], resamples, seed)
    write_json(
        comparison_path, {"target": target, "networks": names, "bugged_minus_fixed": figures}
    )
