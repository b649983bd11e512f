"""Rows of the keypoints tables, and of what could not be found, from points in a stack."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.geometry.affine import Affine, to_mm
from spinegrade.geometry.planes import nearest_slice
from spinegrade.regions.region import Target
from spinegrade.tables.files import check_table, empty_table, write_table
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.rejected import REJECTED
from spinegrade.volumes import Stack

_LOGGER = logging.getLogger("spinegrade")


def rejection(study: str, code: str, found: str, action: str, series: str | None = None) -> dict:
    """One row of a rejected table."""
    return {
        "study": study,
        "series": series,
        "file": None,
        "code": code,
        "found": found,
        "action": action,
    }


def point_rows(
    stack: Stack,
    grid_to_pixels: Affine,
    points: NDArray[np.float64],
    confidences: NDArray[np.float64],
    cells: Iterable[tuple[str, str, str]],
    source: str,
) -> list[dict[str, Any]]:
    """Keypoint rows of grid ``points`` (P, 3) in a stack.

    ``x_mm`` ... are where the point lies in the patient, between slices too; ``index`` is the
    slice nearest to it and ``x_px``, ``y_px`` its perpendicular projection into that slice.
    """
    patient = to_mm(stack.affine, to_mm(grid_to_pixels, points))
    seen = nearest_slice(stack.affine, stack.slices, patient)
    pixels = np.stack([seen.x_px, seen.y_px, seen.index], axis=1)
    rows = []
    for cell, pixel, place, confidence in zip(cells, pixels, patient, confidences, strict=True):
        condition, level, side = cell
        rows.append(
            {
                "study": stack.study,
                "series": stack.series,
                "stack": stack.stack,
                "index": int(pixel[2]),
                "condition": condition,
                "level": level,
                "side": side,
                "x_px": float(pixel[0]),
                "y_px": float(pixel[1]),
                "x_mm": float(place[0]),
                "y_mm": float(place[1]),
                "z_mm": float(place[2]),
                "confidence": float(np.clip(confidence, 0.0, 1.0)),
                "source": source,
            }
        )
    return rows


def no_series(study: str, target: Target) -> dict[str, Any]:
    """The rejection of a study that lacks the target's series."""
    kind = f"{target.plane} {target.weighting.upper()}"
    return rejection(
        study,
        "KEYPOINTS_NO_SERIES",
        f"no {kind} stack",
        f"no {target.name} points are found and its cells fall back to the prior; deliver a {kind} "
        "series, or correct the series descriptions",
    )


def tell_rejected(rejected: pd.DataFrame) -> None:
    """Warn of a rejected table in the log: by code the studies, and the rows where they are more.

    A study may have a row for each level.
    """
    for code, rows in rejected.groupby("code"):
        studies = rows["study"].unique()
        more = f" ({len(rows)} rows)" if len(rows) > len(studies) else ""
        plural = "study" if len(studies) == 1 else "studies"
        _LOGGER.warning("%s: %d %s%s: %s", code, len(studies), plural, more, ", ".join(studies))


def keypoint_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows as a checked keypoints table, empty where there are none."""
    return check_table(pd.DataFrame(rows), KEYPOINTS) if rows else empty_table(KEYPOINTS)


def rejected_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows as a checked rejected table, empty where there are none."""
    return check_table(pd.DataFrame(rows), REJECTED) if rows else empty_table(REJECTED)


def write_found(
    name: str,
    keypoints: list[dict[str, Any]],
    rejected: list[dict[str, Any]],
    keypoints_path: str,
    rejected_path: str,
) -> None:
    """Write the rows of what ``name`` found and of what not, and tell it in the log."""
    found, not_found = keypoint_table(keypoints), rejected_table(rejected)
    tell_rejected(not_found)
    _LOGGER.info("%s: %d points in %d studies", name, len(found), found["study"].nunique())
    write_table(keypoints_path, found, KEYPOINTS)
    write_table(rejected_path, not_found, REJECTED)
