"""The check of annotated points before conversion: placed from headers, then judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from spinegrade.annotations import codes
from spinegrade.annotations.judge import judge, left_out_rows
from spinegrade.convert.landmarks import place_points
from spinegrade.convert.survey import SurveyedCohort
from spinegrade.convert.survey_places import FramesOfReference, compare_frames, place_tables
from spinegrade.tables.annotations import ANNOTATIONS
from spinegrade.tables.files import check_table


@dataclass(frozen=True)
class SurveyedLandmarks:
    """Placed ``points`` (``annotations.points``), the table ``annotations``, and the frames."""

    points: pd.DataFrame
    annotations: pd.DataFrame
    frames: FramesOfReference


def survey_landmarks(
    landmarks: pd.DataFrame,
    series: pd.DataFrame,
    surveyed: SurveyedCohort,
    leave_out: str | Sequence[str],
) -> SurveyedLandmarks:
    """Place and judge ``landmarks`` by the same rules as ``locate_landmarks`` after conversion.

    ``landmarks``, ``series``: tables of those kinds. Points of a series without a volume are
    judged by their numbers and pixels.
    """
    tables = place_tables(surveyed.places)
    points = place_points(
        landmarks, tables["stacks"], tables["slices"], tables["copies"], surveyed.rejected
    )
    kinds = series[["study", "series", "plane", "weighting"]]
    points = points.drop(columns=["plane", "weighting"])
    points = points.merge(kinds, on=["study", "series"], how="left", validate="many_to_one")
    found = judge(points)
    gone = set(left_out_rows(found, codes.codes_left_out(leave_out))["row"])
    frames = compare_frames(surveyed.places)
    table = found.join(points.drop(columns=["code", "found"]), on="row")
    table["left_out"] = table["row"].isin(gone)
    table["found"] += _about_frames(table, frames)
    table = table[list(ANNOTATIONS.columns)]
    return SurveyedLandmarks(points, check_table(table, ANNOTATIONS), frames)


def _about_frames(table: pd.DataFrame, frames: FramesOfReference) -> pd.Series:
    """Words on the frames of reference where the positions of a study contradict each other."""
    words = pd.Series("", table.index, dtype="object")
    apart = table["code"] == codes.SERIES_APART
    differ = table["study"].isin(frames.differing)
    words[apart & differ] = "; the headers of the study's series name different frames of reference"
    return words
