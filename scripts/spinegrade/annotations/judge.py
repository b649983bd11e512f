"""All rules together: what contradicts in a table of annotated points."""

from __future__ import annotations

import pandas as pd

from spinegrade.annotations import cells, levels, meeting, sides
from spinegrade.annotations.points import add_context, findings


def judge(points: pd.DataFrame) -> pd.DataFrame:
    """Findings on ``points`` (see ``points_of_tables``): row, code, found, expected.

    ``row``: place of the point in ``points``, counted from 0. A point may have several. Points
    without a place or in a series of another kind, and the points of a cell that has several, are
    held against no others.
    """
    points = add_context(points)
    unlocated = points[points["code"].notna()]
    single = [
        findings(part.index, str(code), part["found"], "a slice of that number")
        for code, part in unlocated.groupby("code")
    ]
    own = [cells.other_kind(points), cells.repeated(points), cells.twice(points)]
    single += [cells.outside(points), *own]
    doubtful = pd.concat(own)["row"]
    sure = points[~points["placeless"]].drop(index=doubtful, errors="ignore")
    related = [
        rule(sure)
        for rule in (
            sides.exchanged_recesses,
            sides.exchanged_foramina,
            sides.foramina_on_one_slice,
            levels.out_of_order,
            levels.numbers_out_of_order,
            levels.off_line,
            meeting.series_apart,
        )
    ]
    found = pd.concat([*single, *related], ignore_index=True)
    return found.sort_values("row", kind="stable", ignore_index=True)


def left_out_rows(found: pd.DataFrame, leave_out: frozenset[str]) -> pd.DataFrame:
    """The first finding of each point for which it is left out (``codes.codes_left_out``)."""
    chosen = found[found["code"].isin(leave_out)]
    return chosen.drop_duplicates("row")
