"""Stage fit_mean_shape: a cohort's landmarks to the mean shape of each sagittal plane."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.geometry.procrustes import Points, generalised_procrustes
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_LEVELS, SPINAL
from spinegrade.runtime.files import write_json
from spinegrade.shapes.picture import draw_shapes
from spinegrade.tables.files import read_table, read_tables
from spinegrade.tables.landmarks import LANDMARKS
from spinegrade.tables.stacks import STACKS

FRAME_PX = 512
PARTS = {
    "foraminal": (FORAMINAL, ("left", "right")),
    "canal": (SPINAL, ("central",)),
}
"""Shape to (condition, sides); its points are the sides in turn, each l1_l2 to l5_s1."""

_LOGGER = logging.getLogger("spinegrade")


class PointSets(NamedTuple):
    """Complete sets (n, k, 2) in px at 512, their studies (n,), and how many were left out."""

    points: Points
    studies: list[str]
    left_out: int


def image_sizes(stacks: pd.DataFrame) -> pd.Series:
    """Longer side in px of each series' images, indexed by (study, series).

    ``stacks``: a table of that kind. Series whose stacks differ in size are not in the result:
    their landmarks cannot be scaled before they are located in a stack.
    """
    longer = stacks[["rows", "cols"]].max(axis=1).astype(float)
    grouped = longer.groupby([stacks["study"], stacks["series"]])
    return grouped.first()[grouped.nunique() == 1]


def complete_sets(
    landmarks: pd.DataFrame, sizes: pd.Series, condition: str, sides: Sequence[str]
) -> PointSets:
    """Point sets of the studies that have every point of a condition in one series.

    ``landmarks``: a table of that kind; ``sizes``: longer image side by (study, series).
    Points are scaled so that the longer side of their image is 512 px. A study with several
    complete series gives its first; a point annotated twice gives its first.
    """
    rows = landmarks[landmarks["condition"] == condition]
    studies = rows["study"].nunique()
    wanted = [(side, level) for side in sides for level in LUMBAR_LEVELS]
    place = {column: number for number, column in enumerate(wanted)}
    points, kept = [], []
    for (study, series), group in rows.groupby(["study", "series"], sort=True):
        if study in kept[-1:] or (study, series) not in sizes.index:
            continue
        found = np.full((len(wanted), 2), np.nan)
        for row in reversed(list(group.itertuples())):
            if (row.side, row.level) in place:
                found[place[row.side, row.level]] = row.x_px, row.y_px
        if np.isfinite(found).all():
            points.append(found * FRAME_PX / sizes[study, series])
            kept.append(str(study))
    return PointSets(np.array(points, float).reshape(-1, len(wanted), 2), kept, studies - len(kept))


def fit_mean_shape(
    landmarks: str | Path, stacks: list[str], shape_file: str | Path, picture: str | Path
) -> None:
    """Read landmarks and image sizes, write mean_shape.json and its picture.

    Raises SpinegradeError where no study has every point of a plane.
    """
    table = read_table(landmarks, LANDMARKS)
    sizes = image_sizes(read_tables(stacks, STACKS))
    shapes, drawings = {}, {}
    for part, (condition, sides) in PARTS.items():
        sets = complete_sets(table, sizes, condition, sides)
        count = len(sides) * len(LUMBAR_LEVELS)
        _LOGGER.info(
            "%s: %d studies with all %d points in one converted series, %d left out",
            part,
            len(sets.studies),
            count,
            sets.left_out,
        )
        if not sets.studies:
            raise SpinegradeError(
                f"{landmarks}: no study has all {count} points of {condition} in one converted "
                f"series ({sets.left_out} studies have some); annotate one study fully",
                code="SHAPE_WITHOUT_STUDY",
            )
        mean, aligned = generalised_procrustes(sets.points)
        spread = np.sqrt(((aligned - mean) ** 2).sum(axis=-1).mean())
        shapes[part] = {
            "points": mean.tolist(),
            "unit": f"px at {FRAME_PX}",
            "studies": len(sets.studies),
            "left_out": sets.left_out,
            "spread_px": float(spread),
        }
        drawings[part] = (mean, aligned)
    write_json(shape_file, shapes)
    draw_shapes(picture, drawings)
