"""The prior: what is known of a cell before its study is looked at, by the other folds' labels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.metrics.prior import grade_prior
from spinegrade.regions.region import Region

PRIOR = "prior"
"""The prior's name in the column ``classifier``."""

Prior = dict[str, dict[str, list[float]]]
"""Condition, then level, to the three probabilities."""


def fit_prior(labels: pd.DataFrame, region: Region) -> Prior:
    """Fit ``metrics.prior`` on a labels table; missing grades are left out.

    Raises SpinegradeError for a condition without a single labelled cell.
    """
    known = labels[labels["grade"].notna()]
    parts = (region.conditions, region.levels, region.grades)
    place = pd.MultiIndex.from_product(parts)
    counts = known.groupby(["condition", "level", "grade"]).size().reindex(place, fill_value=0)
    counts = counts.to_numpy(dtype=np.float64).reshape([len(part) for part in parts])
    prior: Prior = {}
    for condition, by_level in zip(region.conditions, counts, strict=True):
        if by_level.sum() == 0:
            raise SpinegradeError(
                f"prior: the training folds hold no labelled cell of {condition}; give more "
                "labelled studies or fewer folds",
                code="PRIOR_WITHOUT_LABELS",
            )
        probabilities = grade_prior(by_level, region.grade_weights).tolist()
        prior[condition] = dict(zip(region.levels, probabilities, strict=True))
    return prior


def prior_table(prior: Prior, studies: list[str], fold: int | None, region: Region) -> pd.DataFrame:
    """All cells of ``studies`` with the prior's probabilities: a predictions table."""
    rows = pd.DataFrame(region.cells)
    columns = list(region.probability_columns)
    rows[columns] = [prior[cell.condition][cell.level] for cell in region.cells]
    table = rows.iloc[np.tile(np.arange(len(rows)), len(studies))].reset_index(drop=True)
    table["study"] = pd.array(np.repeat(np.array(studies, dtype=object), len(rows)), dtype="str")
    fold_column = pd.array([fold] * len(table), dtype="Int64")
    return table.assign(classifier=PRIOR, fold=fold_column)


def cross_fitted_prior(
    labels: pd.DataFrame, fold_of: pd.Series, region: Region
) -> tuple[pd.DataFrame, Prior]:
    """The prior of every study, from the folds that the study is not in.

    ``fold_of``: Int64 fold by study id, null for a study in no fold (a new one, or one that
    nothing was trained on), which gets the prior of all folds together. Labels of studies
    in no fold are never counted. Returns the predictions table and the prior of all folds.
    """
    in_folds = fold_of.dropna()
    fold_of_row = labels["study"].map(in_folds)
    whole = fit_prior(labels[fold_of_row.notna()], region)
    parts = []
    for fold in sorted(in_folds.unique()):
        others = labels[fold_of_row.notna() & (fold_of_row != fold)]
        studies = list(in_folds.index[in_folds == fold])
        parts.append(prior_table(fit_prior(others, region), studies, int(fold), region))
    outside = list(fold_of.index[fold_of.isna()])
    if outside:
        parts.append(prior_table(whole, outside, None, region))
    return pd.concat(parts, ignore_index=True), whole
