"""Annotated points, given as instance number and pixel, located in stacks and in patient space."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from spinegrade.convert.refusals import refusal_row
from spinegrade.geometry.affine import affine_from_columns, to_mm
from spinegrade.tables import SCHEMAS, read_table, write_table


def locate_landmarks(
    landmarks: pd.DataFrame, stacks: pd.DataFrame, slices: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables ``located_landmarks`` and ``rejected`` for the landmarks of some studies.

    A point is found through (study, series, instance number), never through order; where
    several slices bear that number (volumes at the same positions) the first stack counts.
    Points without a converted slice or outside the image are rejected. Confidence is 1,
    source "annotated".
    """
    key = ["study", "series", "instance_number"]
    slices = slices.sort_values(["study", "series", "stack", "index"]).drop_duplicates(key)
    slices = slices[[*key, "stack", "index"]].astype({"instance_number": "int64"})
    points = landmarks.astype({"instance_number": "int64"}).merge(
        slices, on=key, how="left", validate="many_to_one"
    )
    rows_of = {(r["study"], r["series"], int(r["stack"])): r for r in stacks.to_dict("records")}
    located, rejected = [], []
    for point in points.to_dict("records"):
        name = f"{point['condition']} {point['level']} {point['side']}"
        where = f"{name}, instance {point['instance_number']}"
        if pd.isna(point["index"]):
            found = f"{where}: no slice of that number was converted"
            rejected.append(_row(point, "LANDMARK_WITHOUT_SLICE", found))
            continue
        stack = rows_of[point["study"], point["series"], int(point["stack"])]
        x, y, index = point["x_px"], point["y_px"], int(point["index"])
        if not (-0.5 <= x <= stack["cols"] - 0.5 and -0.5 <= y <= stack["rows"] - 0.5):
            found = f"{where}: ({x:.1f}, {y:.1f}) px in {stack['cols']} x {stack['rows']}"
            rejected.append(_row(point, "LANDMARK_OUTSIDE_IMAGE", found))
            continue
        x_mm, y_mm, z_mm = to_mm(affine_from_columns(stack), [[x, y, index]])[0]
        located.append(
            {
                **{c: point[c] for c in ("study", "series", "condition", "level", "side")},
                "stack": int(point["stack"]),
                "index": index,
                "x_px": x,
                "y_px": y,
                "x_mm": x_mm,
                "y_mm": y_mm,
                "z_mm": z_mm,
                "confidence": 1.0,
                "source": "annotated",
            }
        )
    return (
        pd.DataFrame(located, columns=list(SCHEMAS["located_landmarks"])),
        pd.DataFrame(rejected, columns=list(SCHEMAS["rejected"])),
    )


def _row(point: dict[str, object], code: str, found: str) -> dict[str, object]:
    return refusal_row(
        str(point["study"]), str(point["series"]), None, code, found, "landmark left out"
    )


def locate_shard(
    landmarks: str | Path,
    studies: str | Path,
    stacks: str | Path,
    slices: str | Path,
    shard: int,
    located: str | Path,
    rejected: str | Path,
) -> None:
    """Locate the landmarks of one shard's studies and write both tables."""
    known = read_table(studies, "studies")
    wanted = set(known.loc[(known["shard"] == shard) & known["problem"].isna(), "study"])
    points = read_table(landmarks, "landmarks")
    points = points[points["study"].isin(wanted)]
    found, lost = locate_landmarks(
        points, read_table(stacks, "stacks"), read_table(slices, "slices")
    )
    write_table(located, found, "located_landmarks")
    write_table(rejected, lost, "rejected")
