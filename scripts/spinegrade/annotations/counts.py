"""How the instance numbers of a cohort's annotated points run."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from spinegrade.annotations import cells, levels, sides
from spinegrade.annotations.points import add_context
from spinegrade.regions.lumbar_mri import FORAMINAL, SPINAL, SUBARTICULAR


class Counts(NamedTuple):
    """How the numbers of a cohort's points run: what is usual in it, as against what is wrong.

    Pairs are left and right recess of a level in one series; directions of axial series are
    those of the left recesses' instance numbers; T1 series are those with a pair of foramina.
    """

    points: int
    recess_pairs: int
    recess_pairs_on_two_slices: int
    most_slices_apart: int
    canal_series: int
    axial_series: int
    axial_growing: int
    axial_falling: int
    axial_neither: int
    t1_series: int
    t1_left_greater: int
    t1_left_smaller: int
    t1_mixed: int
    t1_one_slice: int


def count_numbers(points: pd.DataFrame) -> Counts:
    """The counts of ``points``, by instance numbers alone, wherever they were located."""
    points = add_context(points)
    points = points[~points["outside"]].drop(index=cells.twice(points)["row"])
    points = points.drop(index=cells.repeated(points)["row"])
    recesses = sides.side_pairs(points, SUBARTICULAR, "axial")
    foramina = sides.side_pairs(points, FORAMINAL, "sagittal")
    apart = foramina["instance_number_left"] - foramina["instance_number_right"]
    by_series = [foramina["study"], foramina["series"]]
    left, right, one = (
        apart.pipe(test).groupby(by_series).agg(["any", "all"])
        for test in (lambda n: n > 0, lambda n: n < 0, lambda n: n == 0)
    )
    directions = levels.number_directions(points, SUBARTICULAR, "axial")
    axial = directions.loc[directions["side"] == "left", "direction"]
    canal = points[points["condition"] == SPINAL]
    return Counts(
        points=len(points),
        recess_pairs=len(recesses),
        recess_pairs_on_two_slices=int((recesses["slices_apart"] > 0).sum()),
        most_slices_apart=int(recesses["slices_apart"].max()) if len(recesses) else 0,
        canal_series=len(canal[["study", "series"]].drop_duplicates()),
        axial_series=len(axial),
        axial_growing=int((axial == "grow").sum()),
        axial_falling=int((axial == "fall").sum()),
        axial_neither=int((axial == "neither").sum()),
        t1_series=len(left),
        t1_left_greater=int(left["all"].sum()),
        t1_left_smaller=int(right["all"].sum()),
        t1_mixed=int((left["any"] & right["any"]).sum()),
        t1_one_slice=int(one["any"].sum()),
    )
