"""Which labelled cells predictions are measured on, and which parts of the score they make up."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from spinegrade.metrics.cells import KEY
from spinegrade.metrics.rsna2024 import PARTS
from spinegrade.names import CONDITIONS, SPINAL


def graded_parts(conditions: Collection[str]) -> dict[str, int]:
    """The parts of the score that cells of these conditions speak for, and their columns in it."""
    parts = {PARTS[k]: k for k, name in enumerate(CONDITIONS) if name in conditions}
    if SPINAL in conditions:
        parts["any_severe"] = PARTS.index("any_severe")
    return parts


def labelled_cells(labels: pd.DataFrame, conditions: Collection[str]) -> pd.DataFrame:
    """The rows of a labels table with a grade and of these conditions."""
    return labels[labels["condition"].isin(set(conditions)) & labels["grade"].notna()]


def predicted_cells(labels: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``labels`` whose cell is among ``predictions``."""
    return labels.merge(predictions[KEY], on=KEY, how="inner")
