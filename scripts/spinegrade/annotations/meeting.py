"""The series of a study against each other: what they mark as one level lies at one place."""

from __future__ import annotations

import numpy as np
import pandas as pd

from spinegrade.annotations import codes
from spinegrade.annotations.points import POSITION, findings

# How far the middle of a level's points in one series may lie from that in another: less than
# two levels of an adult are apart (25 to 45 mm), more than the ways of the three conditions to
# mark a level differ.
MEET_MM = 25.0
_MARK = ["study", "rank", "series", "condition"]


def level_marks(points: pd.DataFrame) -> pd.DataFrame:
    """Where each series has each level: a row a study, level, series and condition.

    Columns ``level``, x_mm, y_mm, z_mm: the mean over the located points; ``middle``: whether
    that is the middle of the body, not one side of it.
    """
    located = points[points["in_space"]]
    by_mark = located.groupby(_MARK)
    marks = by_mark[POSITION].mean()
    marks["level"] = by_mark["level"].first()
    central = (located["side"] == "central").groupby([located[name] for name in _MARK]).any()
    marks["middle"] = central | (by_mark["side"].nunique() == 2)
    return marks.reset_index()


def series_apart(points: pd.DataFrame) -> pd.DataFrame:
    """Points of a level that lie farther than MEET_MM from those of another series.

    Where three series mark it, the one that disagrees with both others is named alone. The way
    to the patient's left counts only between marks that are each in the middle of the body.
    """
    marks = level_marks(points)
    marks["mark"] = np.arange(len(marks))
    pairs = marks.merge(marks, on=["study", "rank"], suffixes=("", "_other"))
    pairs = pairs[pairs["series"] != pairs["series_other"]]
    offsets = [pairs[f"{axis}_other"] - pairs[axis] for axis in POSITION]
    offsets[0] = offsets[0].where(pairs["middle"] & pairs["middle_other"], 0.0)
    pairs = pairs.assign(distance=np.sqrt(sum(offset**2 for offset in offsets)))
    apart = pairs[pairs["distance"] > MEET_MM]
    disagrees = apart.groupby("mark").size()
    own = apart["mark"].map(disagrees).to_numpy()
    other = apart["mark_other"].map(disagrees).to_numpy()
    apart = apart[own >= other].sort_values("distance", ascending=False, kind="stable")
    apart = apart.drop_duplicates("mark")
    told = points[points["in_space"]].assign(row=points.index[points["in_space"]])
    told = told.merge(
        apart[[*_MARK, "distance", "series_other"]], on=_MARK, how="inner", validate="m:1"
    )
    found = [
        f"the level's points lie {distance:.0f} mm from those in series {series}"
        for distance, series in zip(told["distance"], told["series_other"], strict=True)
    ]
    expected = f"the same level within {MEET_MM:g} mm in all series of a study"
    return findings(told["row"], codes.SERIES_APART, found, expected)
