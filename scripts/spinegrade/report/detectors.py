"""Detectors side by side: the same points of the same studies, found by each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from spinegrade.metrics.points import point_figures
from spinegrade.regions.lumbar_mri import CONDITIONS

_CELL = ["study", "level", "side"]
ALL = "all"


def compare_detectors(
    errors: pd.DataFrame, landmarks: pd.DataFrame, anatomy: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """One row a condition, kind of anatomy and detector.

    ``errors``: what measure_keypoints writes, out of fold; ``landmarks``: located; ``anatomy``:
    by study "typical" or another word, each of which gets rows beside those of all studies.

    ``coverage`` is the share of annotated points that the detector found. All else is over the
    points that every detector of the condition found, ``points`` of ``studies``, so that none is
    flattered by what it leaves out: medians in mm and in px of the image, ``within_6_mm``,
    ``slice_exact`` and ``slice_within_1`` (shares), ``side_right``, and the shares of points and of
    studies that lie nearer to another level than to their own.
    """
    known = landmarks[landmarks[["x_mm", "y_mm", "z_mm"]].notna().all(axis=1)]
    rows: list[dict[str, Any]] = []
    for condition in CONDITIONS:
        found = errors[errors["condition"] == condition].drop_duplicates(["detector", *_CELL])
        annotated = known[known["condition"] == condition].drop_duplicates(_CELL)
        times = found.groupby(_CELL)["detector"].transform("nunique")
        found = found.assign(by_all=times == found["detector"].nunique())
        for kind, studies in _kinds(annotated, anatomy).items():
            mine = int(annotated["study"].isin(studies).sum())
            for detector, part in found[found["study"].isin(studies)].groupby("detector"):
                head = {"condition": condition, "anatomy": kind, "detector": detector}
                coverage = {"annotated": mine, "coverage": len(part) / mine}
                rows.append({**head, **coverage, **_figures(part[part["by_all"]])})
    return pd.DataFrame(rows)


def _kinds(annotated: pd.DataFrame, anatomy: Mapping[str, str] | None) -> dict[str, set[str]]:
    """Studies by kind of anatomy: all, then typical ones, then the rest by name."""
    studies = set(annotated["study"])
    kinds = {ALL: studies}
    words = {study: (anatomy or {}).get(study) for study in studies}
    for word in sorted({w for w in words.values() if w}, key=lambda w: (w != "typical", w)):
        kinds[word] = {study for study in studies if words[study] == word}
    return kinds


def _figures(errors: pd.DataFrame) -> dict[str, Any]:
    figures = point_figures(errors)
    return {
        **{name: value for name, value in figures.items() if not name.startswith("level_shift")},
        "median_in_plane_mm": errors["error_in_plane_mm"].median(),
        "median_in_plane_px": errors["error_in_plane_px"].median(),
        "slice_exact": (errors["error_slices"].abs() < 0.5).mean(),
        "shifted_points": figures["level_shift_points"],
        "shifted_studies": figures["level_shift_studies"],
    }
