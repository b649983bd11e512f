"""What a single point tells, or the points of one cell: kind of series, image, repetition."""

from __future__ import annotations

import pandas as pd

from spinegrade.annotations import codes
from spinegrade.annotations.points import CELL, findings
from spinegrade.regions.lumbar_mri import FORAMINAL, SPINAL, SUBARTICULAR

# The series that a condition is read from: its plane, and its weightings.
KINDS = {
    SPINAL: ("sagittal", ("t2", "stir")),
    FORAMINAL: ("sagittal", ("t1",)),
    SUBARTICULAR: ("axial", ("t2",)),
}
_WORDS = {
    SPINAL: "a sagittal T2 or STIR series",
    FORAMINAL: "a sagittal T1 series",
    SUBARTICULAR: "an axial T2 series",
}


def outside(points: pd.DataFrame) -> pd.DataFrame:
    """Points outside their image."""
    bad = points[points["outside"]]
    found = [
        f"({x:.1f}, {y:.1f}) px in {int(cols)} x {int(rows)}"
        for x, y, cols, rows in zip(bad["x_px"], bad["y_px"], bad["cols"], bad["rows"], strict=True)
    ]
    return findings(bad.index, codes.OUTSIDE_IMAGE, found, "a point inside its image")


def other_kind(points: pd.DataFrame) -> pd.DataFrame:
    """Points in a series of another kind than their condition is read from."""
    parts = [findings([], codes.OTHER_KIND, [], "")]
    for condition, (plane, weightings) in KINDS.items():
        own = points[(points["condition"] == condition) & points["plane"].notna()]
        fits = (own["plane"] == plane) & own["weighting"].isin(weightings)
        bad = own[~fits]
        found = ("in a " + bad["plane"] + " " + bad["weighting"].str.upper() + " series").tolist()
        parts.append(findings(bad.index, codes.OTHER_KIND, found, _WORDS[condition]))
    return pd.concat(parts, ignore_index=True)


def repeated(points: pd.DataFrame) -> pd.DataFrame:
    """Second and further rows that repeat a point: same series, cell, number and pixel."""
    key = ["study", "series", *CELL, "instance_number", "x_px", "y_px"]
    bad = points.index[points.duplicated(key)]
    return findings(bad, codes.REPEATED, ["the row stands there before"] * len(bad), "one row")


def twice(points: pd.DataFrame) -> pd.DataFrame:
    """All points of a cell that has several different ones in one series.

    Those without a place are no rivals of one that has a place.
    """
    key = ["study", "series", *CELL]
    placed = points[~points["placeless"]]
    placed = placed[~placed.duplicated([*key, "instance_number", "x_px", "y_px"])]
    bad = placed[placed.duplicated(key, keep=False)]
    rows: list[int] = []
    found: list[str] = []
    for _, rivals in bad.groupby(key):
        told = [
            f"instance {number}, ({x:.1f}, {y:.1f}) px"
            for number, x, y in zip(
                rivals["instance_number"], rivals["x_px"], rivals["y_px"], strict=True
            )
        ]
        rows += rivals.index.tolist()
        found += [" and ".join(told)] * len(rivals)
    return findings(rows, codes.TWICE, found, "one point of a cell in a series")
