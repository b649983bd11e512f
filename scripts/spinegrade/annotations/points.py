"""Annotated points with what is known of their images: the table that the rules judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.annotations import codes
from spinegrade.regions.lumbar_mri import LUMBAR_LEVELS

CELL = ["condition", "level", "side"]
POSITION = ["x_mm", "y_mm", "z_mm"]
_CERVICAL = tuple(f"c{number}" for number in range(1, 8))
_RANK = {level: rank for rank, level in enumerate((*LUMBAR_LEVELS, *_CERVICAL))}


def points_of_tables(
    landmarks: pd.DataFrame, series: pd.DataFrame, sizes: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Points as the rules take them, of which no slice is known: what tables alone can tell.

    ``landmarks``, ``series``: tables of those kinds. ``sizes``: rows and cols (px) of the image
    of each landmark, in the same order. Columns of the result: those of ``landmarks``, the
    ``plane`` and ``weighting`` of the series, ``rows`` and ``cols``, ``stack``, ``index`` and
    x_mm, y_mm, z_mm (null: not located), ``code`` and ``found`` (null, or why not located).
    """
    kinds = series[["study", "series", "plane", "weighting"]]
    points = landmarks.reset_index(drop=True).astype({"instance_number": "int64"})
    points = points.merge(kinds, on=["study", "series"], how="left", validate="many_to_one")
    for column in ("rows", "cols"):
        points[column] = np.nan if sizes is None else sizes[column].to_numpy(float)
    for column in ("stack", "index", *POSITION):
        points[column] = np.nan
    return points.assign(code=None, found=None)


def add_context(points: pd.DataFrame) -> pd.DataFrame:
    """``points`` with a RangeIndex and the columns that the rules go by.

    ``rank``: of the level, from the head down. ``placeless``: nothing can be said of its place
    (ambiguous, or outside its image). ``in_space``: judged by its patient position; all other
    points are judged by numbers and pixels, but only in series of which no point is located.
    """
    # Slices may be nullable integers, whose comparisons are neither true nor false.
    known = dict.fromkeys(["stack", "index", "rows", "cols"], "float64")
    points = points.reset_index(drop=True).astype(known)
    located = points["x_mm"].notna()
    in_space = located.groupby([points["study"], points["series"]]).transform("any")
    outside = outside_image(points)
    ambiguous = points["code"].notna() & (points["code"] != codes.WITHOUT_SLICE)
    return points.assign(
        rank=points["level"].map(_RANK).astype(int),
        in_space=in_space,
        outside=outside,
        placeless=outside | ambiguous | (in_space & ~located),
    )


def outside_image(points: pd.DataFrame) -> pd.Series:
    """Whether each point lies outside its image; false where its size is not known."""
    x, y = points["x_px"], points["y_px"]
    rows, cols = points["rows"], points["cols"]
    return (x < -0.5) | (y < -0.5) | (x > cols - 0.5) | (y > rows - 0.5)


def findings(
    rows: Sequence[int] | NDArray[np.int64], code: str, found: Sequence[str], expected: str
) -> pd.DataFrame:
    """Rows of findings: the point's ``row``, ``code``, what was ``found``, what is ``expected``."""
    table = {"row": np.asarray(rows, np.int64), "code": code, "found": list(found)}
    return pd.DataFrame(table).assign(expected=expected)


def not_in_order(values: NDArray[np.float64], least: float = 0.0) -> NDArray[np.bool_]:
    """Which of some values (n,) keep them from growing by more than ``least`` at each step.

    Kept are those that lie in every longest growing part: of 1, 2, 9, 3, 4 the 9 is named, of
    2, 1, 3 both 2 and 1, since either may be the wrong one.
    """
    count = len(values)
    before, after = np.ones(count, int), np.ones(count, int)
    grows = values[None, :] - values[:, None] > least  # [i, j]: from i to j
    for j in range(count):
        before[j] += max((before[i] for i in range(j) if grows[i, j]), default=0)
    for i in reversed(range(count)):
        after[i] += max((after[j] for j in range(i + 1, count) if grows[i, j]), default=0)
    on_a_longest = before + after - 1 == before.max(initial=0)
    alone = np.bincount(before[on_a_longest], minlength=count + 1)[before] == 1
    return ~(on_a_longest & alone)
