"""Which labelled cells predictions are measured on."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from spinegrade.metrics.cells import KEY


def labelled_cells(labels: pd.DataFrame, conditions: Collection[str]) -> pd.DataFrame:
    """The rows of a labels table with a grade and of these conditions."""
    return labels[labels["condition"].isin(set(conditions)) & labels["grade"].notna()]


def predicted_cells(labels: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``labels`` whose cell is among ``predictions``."""
    return labels.merge(predictions[KEY], on=KEY, how="inner")
