"""Comparisons paired by study: a blend with its families, a learner with one without a fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.metrics.bootstrap import compare
from spinegrade.metrics.cells import match
from spinegrade.metrics.graded import labelled_cells, predicted_cells
from spinegrade.metrics.score import cell_sums, graded_parts, score_cells
from spinegrade.metrics.study_bootstrap import StudyMeans, compare_means, study_means
from spinegrade.regions.region import Region
from spinegrade.runtime.files import write_json
from spinegrade.tables.files import read_table
from spinegrade.tables.labels import LABELS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.tables.probabilities import PROBABILITIES

# Outcome: the column of the point errors, and whether its size alone counts.
_OUTCOMES = {
    "side_confusion": ("other_side", False),
    "drift_slices": ("drift_slices", False),
    "slice_error": ("error_slices", True),
    "error_y_px": ("error_y_px", True),
    "error_mm": ("error_mm", False),
}


class Work(NamedTuple):
    """What a learner did out of fold: ``errors`` of its points, and ``predictions``, or None."""

    errors: pd.DataFrame | None
    predictions: pd.DataFrame | None


def compare_work(
    first: Work,
    second: Work,
    labels: pd.DataFrame,
    region: Region,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """First minus second of each outcome over the studies of both, with 95 % intervals.

    Outcomes of points, each a mean over points, as far as their errors are known; of grades the
    weighted loss of the parts of the score, over the labelled cells that both predict. Every value
    is {first, second, difference: {value, low, high}, studies}. The same resamples of studies
    serve both. Raises SpinegradeError where the two have no study with points in common.
    """
    figures: dict[str, Any] = {}
    if first.errors is not None and second.errors is not None:
        figures |= _compare_points(first.errors, second.errors, resamples, seed)
    if first.predictions is None or second.predictions is None:
        return figures
    conditions = set(first.predictions["condition"]) & set(second.predictions["condition"])
    wanted = labelled_cells(labels, conditions)
    for one in (first, second):
        wanted = predicted_cells(wanted, one.predictions)
    cells, probabilities = match(region, wanted, first.predictions, second.predictions)
    sums = [cell_sums(cells, values) for values in probabilities]
    for part, column in graded_parts(region, conditions).items():
        means = [StudyMeans(one.loss[:, column], one.weight[:, column]) for one in sums]
        figures[part] = compare_means(*means, resamples, seed).as_dict()
    return figures


def _compare_points(
    first: pd.DataFrame, second: pd.DataFrame, resamples: int, seed: int
) -> dict[str, Any]:
    studies = sorted(set(first["study"]) & set(second["study"]))
    if not studies:
        raise SpinegradeError(
            "the two learners have no study with points in common to compare",
            code="COMPARISON_EMPTY",
        )
    figures = {}
    for outcome, (column, size) in _OUTCOMES.items():
        if column not in first or column not in second:
            continue
        values = [errors[column].to_numpy(float) for errors in (first, second)]
        if any(np.isnan(one).all() for one in values):
            continue  # points without sides
        means = [
            study_means(errors["study"], np.abs(one) if size else one, studies)
            for errors, one in zip((first, second), values, strict=True)
        ]
        figures[outcome] = compare_means(*means, resamples, seed).as_dict()
    return figures


def compare_learners(
    *,
    names: Sequence[str],
    errors_paths: Sequence[str],
    predictions_paths: Sequence[str],
    labels_path: str,
    comparison_path: str,
    resamples: int,
    seed: int,
    region: Region,
) -> None:
    """Write ``compare_work`` of the learner that keeps a fault, named first, and of the other.

    Paths of both, or none where there are no points, or no predictions. Points measured by looks
    are those of the final ones.
    """
    errors = [pd.read_parquet(path) for path in errors_paths] or [None, None]
    predictions = [read_table(path, PREDICTIONS) for path in predictions_paths] or [None, None]
    works = [
        Work(one[one["looks"] == "final"] if one is not None and "looks" in one else one, table)
        for one, table in zip(errors, predictions, strict=True)
    ]
    figures = compare_work(*works, read_table(labels_path, LABELS), region, resamples, seed)
    kept, mended = names
    found = {"networks": {"bugged": kept, "fixed": mended}, "bugged_minus_fixed": figures}
    write_json(comparison_path, found)


def compare_blends(
    *,
    whole_path: str,
    part_paths: Mapping[str, str],
    labels_path: str,
    comparison_path: str,
    resamples: int,
    seed: int,
    region: Region,
) -> None:
    """Write how the ensemble of ``whole_path`` does against each of ``part_paths``.

    The files are ensembles' probabilities.parquet, out of fold and cross-fitted. The comparison
    holds "whole", the score and its parts, and by part "score" and "whole_minus_part", "value"
    with the 95 % interval "low" to "high" of the paired bootstrap over studies: below zero the
    whole is better. Where the labels do not cover all conditions "scored" is false and
    "reason" says why.

    Raises SpinegradeError for a labelled cell that one of them does not predict.
    """
    labels = read_table(labels_path, LABELS)
    graded = set(labels.loc[labels["grade"].notna(), "condition"])
    absent = [condition for condition in region.conditions if condition not in graded]
    if absent:
        reason = f"no labelled cell of {', '.join(absent)}"
        write_json(comparison_path, {"scored": False, "reason": reason})
        return
    names = list(part_paths)
    paths = [whole_path, *part_paths.values()]
    tables = [read_table(path, PROBABILITIES) for path in paths]
    cells, (whole, *parts) = match(region, labels, *tables)
    found: dict[str, Any] = {
        "scored": True,
        "studies": len(cells.studies),
        "bootstrap_resamples": resamples,
        "whole": score_cells(cells, whole).as_dict(),
        "parts": {},
    }
    for name, part in zip(names, parts, strict=True):
        difference = compare(cells, whole, part, resamples, seed).difference
        found["parts"][name] = {
            "score": score_cells(cells, part).as_dict(),
            "whole_minus_part": difference.as_dict(),
        }
    write_json(comparison_path, found)
