"""Annotated points, given as instance number and pixel, located in stacks and in patient space."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from spinegrade.annotations import codes
from spinegrade.annotations.judge import judge, left_out_rows
from spinegrade.annotations.points import CELL, POSITION
from spinegrade.convert.slice_numbers import choose, find_candidates
from spinegrade.tables.copies import COPIES
from spinegrade.tables.files import empty_table, read_table, write_table
from spinegrade.tables.landmarks import LANDMARKS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.slices import SLICES
from spinegrade.tables.stacks import STACKS
from spinegrade.tables.studies import STUDIES

_LOGGER = logging.getLogger("spinegrade")
_SERIES = ["study", "series"]


def place_points(
    landmarks: pd.DataFrame,
    stacks: pd.DataFrame,
    slices: pd.DataFrame,
    copies: pd.DataFrame | None = None,
    rejected: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Each landmark on its slice, as ``annotations.points`` has them; rows as in ``landmarks``.

    All arguments are tables of those kinds, of the same series. A point is found through its
    series, instance number and file name (slice_numbers.py), never through order; where several
    slices fit that lie at one place, the first stack counts.
    """
    points = landmarks.reset_index(drop=True).astype({"instance_number": "int64"})
    candidates = find_candidates(
        points,
        stacks,
        slices,
        empty_table(COPIES) if copies is None else copies,
        empty_table(REJECTED) if rejected is None else rejected,
    )
    chosen, ambiguous = choose(candidates, len(points))
    chosen = chosen.set_index("point")[["stack", "index", *POSITION]].reindex(points.index)
    points = points.join(chosen)
    kinds = stacks.drop_duplicates(_SERIES)[[*_SERIES, "plane", "weighting"]]
    points = points.merge(kinds, on=_SERIES, how="left", validate="many_to_one")
    sizes = stacks[[*_SERIES, "stack", "rows", "cols"]]
    points = points.merge(sizes, on=[*_SERIES, "stack"], how="left", validate="many_to_one")
    without = pd.Series(codes.WITHOUT_SLICE, points.index, dtype="object")
    code = without.mask(ambiguous.notna(), codes.AMBIGUOUS).mask(points["stack"].notna(), None)
    lost = ("; " + candidates.lost + " was left out").reindex(points.index).fillna("")
    found = ambiguous.fillna("no slice of that number was converted" + lost)
    return points.assign(code=code, found=found.where(code.notna(), None))


def locate_landmarks(
    landmarks: pd.DataFrame,
    stacks: pd.DataFrame,
    slices: pd.DataFrame,
    copies: pd.DataFrame | None = None,
    refused: pd.DataFrame | None = None,
    leave_out: str | Sequence[str] = "impossible",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables ``located_landmarks`` and ``rejected`` for the landmarks of some studies.

    ``refused``: what conversion left out. ``leave_out``: as ``annotations.leave_out`` of the
    configuration (docs/annotations.md). Of a cell in a series one point at most is located.
    Confidence is 1, source "annotated".
    """
    points = place_points(landmarks, stacks, slices, copies, refused)
    found = judge(points)
    gone = left_out_rows(found, codes.codes_left_out(leave_out))
    located = points.drop(index=gone["row"]).drop_duplicates([*_SERIES, *CELL])
    located = located.assign(confidence=1.0, source="annotated")
    told = found[~found["row"].isin(gone["row"])]
    for code, count in told["code"].value_counts().sort_index().items():
        _LOGGER.info("%s: %d points, kept; check_cohort tells which", code, count)
    return (
        located[list(LOCATED_LANDMARKS.columns)].reset_index(drop=True),
        _rejected(points, gone),
    )


def _rejected(points: pd.DataFrame, gone: pd.DataFrame) -> pd.DataFrame:
    """Rows of the table rejected for findings whose points are left out."""
    lost = points.loc[gone["row"]]
    rows = [
        {
            "study": point["study"],
            "series": point["series"],
            "file": None,
            "code": one["code"],
            "found": f"{point['condition']} {point['level']} {point['side']}, instance "
            f"{point['instance_number']}: {one['found']}",
            "action": f"landmark left out; {codes.ADVICE[one['code']]}",
        }
        for point, one in zip(lost.to_dict("records"), gone.to_dict("records"), strict=True)
    ]
    return pd.DataFrame(rows, columns=list(REJECTED.columns))


def locate_shard(
    landmarks: str | Path,
    studies: str | Path,
    converted: dict[str, str | Path],
    shard: int,
    leave_out: str | Sequence[str],
    located: str | Path,
    rejected: str | Path,
) -> None:
    """Locate the landmarks of one shard's studies and write both tables.

    ``converted``: paths of the shard's tables stacks, slices, copies and rejected.
    """
    known = read_table(studies, STUDIES)
    wanted = set(known.loc[(known["shard"] == shard) & known["problem"].isna(), "study"])
    points = read_table(landmarks, LANDMARKS)
    points = points[points["study"].isin(wanted)]
    stacks, slices, copies, refused = (
        read_table(converted[kind.name], kind) for kind in (STACKS, SLICES, COPIES, REJECTED)
    )
    found, lost = locate_landmarks(
        *(points, stacks, slices, copies, refused),
        leave_out,
    )
    write_table(located, found, LOCATED_LANDMARKS)
    write_table(rejected, lost, REJECTED)
