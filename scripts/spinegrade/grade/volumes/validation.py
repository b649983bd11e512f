"""How good a network is on studies that it never saw: grades and points, by fold and pooled."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.grade.volumes.points import anatomies, point_errors, point_figures
from spinegrade.grade.volumes.settings import Settings
from spinegrade.metrics.cells import match
from spinegrade.metrics.graded import labelled_cells, predicted_cells
from spinegrade.metrics.score import cell_sums, graded_parts
from spinegrade.metrics.study_bootstrap import StudyMeans, mean_interval
from spinegrade.regions.region import Region, Target
from spinegrade.runtime.files import atomic_path, read_json, write_json
from spinegrade.tables.files import read_table, read_tables
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.labels import LABELS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.tables.truth import TRUTH
from spinegrade.volumes import load_stacks

_LOGGER = logging.getLogger("spinegrade")


def grade_figures(
    target: Target,
    labels: pd.DataFrame,
    predictions: pd.DataFrame,
    region: Region,
    resamples: int,
    seed: int,
    floor: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Weighted log losses of ``predictions`` over the labelled cells that they cover.

    ``labels``: a labels table; those of the target's condition in the predicted folds' studies.
    Each part of the region's score that the condition speaks for comes with its 95 % interval
    over studies, pooled, and by fold.
    ``unpredicted_cells`` counts labelled cells without a prediction, whose share in a score
    is the ensemble's to fill. ``floor``: a phantom's floor.json; ``ratio_to_floor`` is the pooled
    loss over its realised part.
    """
    covered = predicted_cells(labels, predictions)
    cells, (probabilities,) = match(region, covered, predictions)
    sums = cell_sums(cells, probabilities)
    fold_of = predictions.drop_duplicates("study").set_index("study")["fold"]
    folds = fold_of.loc[list(cells.studies)].to_numpy(int)
    pooled, by_fold = {}, {int(fold): {} for fold in np.unique(folds)}
    for part, column in graded_parts(region, [target.condition]).items():
        means = StudyMeans(sums.loss[:, column], sums.weight[:, column])
        interval = mean_interval(means, resamples, seed).as_dict()
        pooled[part] = {name: round(value, 9) for name, value in interval.items()}
        if floor is not None:
            ratio = interval["value"] / floor["realised"][part]
            pooled[part]["ratio_to_floor"] = round(ratio, 6)
        for fold, figures in by_fold.items():
            mine = folds == fold
            of_fold = StudyMeans(means.total[mine], means.weight[mine])
            figures[part] = round(of_fold.mean, 9) if of_fold.weight.sum() > 0 else None
    return {
        "pooled": pooled,
        "folds": {str(fold): figures for fold, figures in by_fold.items()},
        "cells": len(cells),
        "studies": len(cells.studies),
        "unpredicted_cells": len(labels) - len(covered),
        "unpredicted_studies": sorted(set(labels["study"]) - set(covered["study"])),
    }


def point_report(errors: pd.DataFrame) -> dict[str, Any]:
    """``point_figures`` of all errors, by fold, and by anatomy where one is known."""

    def by(column: str) -> dict[str, Any]:
        return {str(key): point_figures(rows) for key, rows in errors.groupby(column, sort=True)}

    known = (errors["anatomy"] != "unknown").any()
    return {
        "pooled": point_figures(errors),
        "folds": by("fold"),
        "anatomy": by("anatomy") if known else None,
    }


def check_folds(predictions: pd.DataFrame, folds: pd.DataFrame, where: str) -> None:
    """Refuse out-of-fold predictions of another fold than the study's own in ``folds``."""
    own = predictions["study"].map(folds.set_index("study")["fold"])
    wrong = predictions[own.isna() | (own != predictions["fold"])]
    if len(wrong):
        row = wrong.iloc[0]
        raise SpinegradeError(
            f"{where}: study {row['study']} was predicted for fold {row['fold']}, which is not its "
            "own in the folds table: its labels may have been learnt; train and predict again",
            code="PREDICTION_OF_ANOTHER_FOLD",
        )


def measure_grader(
    *,
    settings: Settings,
    predictions_paths: dict[str, str],
    keypoints_paths: dict[str, str],
    stacks_paths: Sequence[str],
    landmarks_paths: Sequence[str],
    labels_path: str,
    folds_path: str,
    truth_path: str | None,
    floor_path: str | None,
    errors_path: str,
    summary_path: str,
    resamples: int,
    seed: int,
    region: Region,
) -> None:
    """Write the errors of all points, and a summary of grades and points.

    ``predictions_paths`` and ``keypoints_paths``: out-of-fold tables by "final" (as its ``looks``
    say) and "plain" (seen once), the latter empty where nothing else was asked for; both are in
    the errors, told apart by their column ``looks``. ``truth_path``: a phantom's truth, of which
    the anatomy alone is read. Raises SpinegradeError for predictions of other folds, and where
    nothing was predicted.
    """
    folds = read_table(folds_path, FOLDS)
    labels = labelled_cells(read_table(labels_path, LABELS), [settings.points.condition])
    labels = labels[labels["study"].isin(set(folds["study"]))]
    landmarks = read_tables(list(landmarks_paths), LOCATED_LANDMARKS)
    stacks = load_stacks(stacks_paths)
    anatomy = anatomies(read_table(truth_path, TRUTH)) if truth_path else None
    floor = read_json(floor_path) if floor_path else None
    grades: dict[str, Any] = {}
    points: dict[str, Any] = {}
    parts = []
    for looks, path in predictions_paths.items():
        predictions = read_table(path, PREDICTIONS)
        keypoints = read_table(keypoints_paths[looks], KEYPOINTS)
        if predictions.empty:
            if looks == "final":
                raise SpinegradeError(
                    f"{path}: network {settings.name} has no out-of-fold prediction; look into its "
                    "rejected table"
                )
            grades[looks] = points[looks] = None
            continue
        check_folds(predictions, folds, path)
        grades[looks] = grade_figures(
            settings.points, labels, predictions, region, resamples, seed, floor
        )
        errors = point_errors(keypoints, landmarks, stacks, settings, anatomy)
        points[looks] = point_report(errors)
        parts.append(errors.assign(looks=looks))
    with atomic_path(errors_path) as temporary:
        pd.concat(parts, ignore_index=True).to_parquet(temporary, index=False)
    summary = {
        "network": settings.name,
        "target": settings.target,
        "as_published": settings.block["as_published"],
        "looks": settings.block["looks"],
        "select": settings.select,
        # The epoch was picked by these very studies: the figures are too good.
        "chosen_on_validation": settings.select == "published",
        "grades": grades,
        "points": points,
    }
    if settings.select == "published":
        _LOGGER.warning(
            "network %s: each fold's epoch was chosen on that fold itself (select: published), so "
            "that the figures are better than new studies will see",
            settings.name,
        )
    write_json(summary_path, summary)
