"""Steps from the foramina to the canal, by which one sequence tells another where levels lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_LEVELS, SPINAL

Offsets = Mapping[str, Sequence[float]]
_MM = ["x_mm", "y_mm", "z_mm"]


def middles(points: pd.DataFrame, condition: str) -> pd.DataFrame:
    """LPS mm of the middle of a condition's points, by study and level."""
    of_condition = points[points["condition"] == condition]
    return of_condition.groupby(["study", "level"])[_MM].mean()


def fit_offsets(landmarks: pd.DataFrame, studies: Iterable[str]) -> dict[str, list[float]]:
    """By level the mean step (LPS mm) from the middle of the foramina to the canal point.

    Over the studies among ``studies`` with both; a level that none shows takes the mean of the
    others, and zeros where no study has both.
    """
    chosen = landmarks[landmarks["study"].isin(set(studies))]
    steps = (middles(chosen, SPINAL) - middles(chosen, FORAMINAL)).dropna()
    by_level = steps.groupby("level").mean()
    usual = by_level.mean() if len(by_level) else pd.Series(0.0, index=_MM)
    return {
        level: (by_level.loc[level] if level in by_level.index else usual).tolist()
        for level in LUMBAR_LEVELS
    }


def mean_offsets(offsets: Sequence[Offsets]) -> dict[str, list[float]]:
    """The mean over several models' offsets."""
    return {
        level: np.mean([one[level] for one in offsets], axis=0).tolist() for level in LUMBAR_LEVELS
    }
