"""A study's annotated points by hand, clean, to plant single faults in."""

from __future__ import annotations

import pandas as pd
from spinegrade.annotations.judge import judge
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_LEVELS, SPINAL, SUBARTICULAR

SERIES = {"canal": "12", "foramina": "11", "recesses": "13"}
KINDS = pd.DataFrame(
    [
        ("1", "11", "sagittal", "t1"),
        ("1", "12", "sagittal", "t2"),
        ("1", "13", "axial", "t2"),
    ],
    columns=["study", "series", "plane", "weighting"],
)


def _point(series: str, condition: str, level: int, side: str, **known: float) -> dict[str, object]:
    return {
        "study": "1",
        "series": SERIES[series],
        "condition": condition,
        "level": LUMBAR_LEVELS[level],
        "side": side,
        "rows": 200,
        "cols": 200,
        **known,
    }


def spine(located: bool = True) -> pd.DataFrame:
    """25 points of one study, levels 35 mm apart from z = 70 mm down; 1 px is 1 mm.

    Sagittal slices 4 mm apart, numbered from the patient's right; axial ones numbered from the
    head, 5 a level. ``located`` false: without slices and positions, as tables alone are.
    """
    rows = []
    for level in range(5):
        z, y = 70.0 - 35 * level, 20.0 + [0, 4, 6, 4, 0][level]
        row = 100.0 - z
        place = {"z_mm": z, "y_mm": y, "x_px": 80 + y, "y_px": row, "stack": 0}
        canal = {**place, "x_mm": 0.0, "index": 7, "instance_number": 8}
        rows.append(_point("canal", SPINAL, level, "central", **canal))
        for side, sign in (("left", 1), ("right", -1)):
            foramen = {**place, "x_mm": 16.0 * sign, "index": 7 + 4 * sign}
            foramen["instance_number"] = foramen["index"] + 1
            rows.append(_point("foramina", FORAMINAL, level, side, **foramen))
            recess = {**place, "x_mm": 10.0 * sign, "index": 24 - 5 * level, "y_px": 80 + y}
            recess |= {"x_px": 100.0 + 10 * sign, "instance_number": 1 + 5 * level}
            rows.append(_point("recesses", SUBARTICULAR, level, side, **recess))
    points = pd.DataFrame(rows).merge(KINDS, on=["study", "series"])
    points = points.assign(code=None, found=None)
    if not located:
        points[["stack", "index", "x_mm", "y_mm", "z_mm"]] = float("nan")
    return points


def cell(points: pd.DataFrame, condition: str, level: str, side: str = "central") -> pd.Series:
    """Where the points of a cell are."""
    return (
        (points["condition"] == condition) & (points["level"] == level) & (points["side"] == side)
    )


def told(points: pd.DataFrame) -> set[tuple[str, str, str]]:
    """(code, level, side) of all findings."""
    found = judge(points).join(points[["level", "side"]].reset_index(drop=True), on="row")
    return set(found[["code", "level", "side"]].itertuples(index=False, name=None))
