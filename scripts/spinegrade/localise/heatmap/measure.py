"""The out-of-fold error of a detector's keypoints against landmarks, and the jitter of crops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.metrics.points import CELL, WITHIN_MM, affines_of, point_errors, point_figures
from spinegrade.regions.lumbar_mri import TARGETS
from spinegrade.runtime.files import atomic_path, write_json
from spinegrade.tables.files import read_tables
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.volumes import load_stacks


def summary(errors: pd.DataFrame) -> dict[str, Any]:
    """``metrics.points.point_figures`` of one detector's ``errors``, and what crops need of them.

    ``in_plane_sd_mm`` is the standard deviation along one axis of the plane, about zero
    and capped at ``2 * WITHIN_MM`` a point, so that one level shift does not set the jitter of all
    crops; ``slice_sd`` likewise. A study is shifted where any of its points is.
    """
    shifted = errors.loc[errors["level_shift"] != 0, "study"]
    in_plane = np.minimum(errors["error_in_plane_mm"], 2 * WITHIN_MM)
    along = np.clip(errors["error_slices"], -3.0, 3.0)
    median = errors["error_in_plane_mm"].median()
    figures = point_figures(errors) | {"median_in_plane_mm": median if len(errors) else None}
    return {
        **{name: _rounded(name, value) for name, value in figures.items()},
        "shifted_studies": sorted(set(shifted)),
        "in_plane_sd_mm": _deviation(in_plane, 2),
        "slice_sd": _deviation(along, 1),
    }


def _rounded(name: str, value: float | None) -> float | None:
    if value is None or isinstance(value, int):
        return value
    return round(float(value), 3 if name.endswith("_mm") and not name.startswith("within") else 4)


def _deviation(values: pd.Series, axes: int) -> float | None:
    if not len(values):
        return None
    return round(float(np.sqrt((values**2).mean() / axes)), 4)


def levels_summary(errors: pd.DataFrame) -> dict[str, Any]:
    """``summary`` of one detector's ``errors``, with the main figures by level under "levels"."""
    by_level = {}
    for level, part in errors.groupby("level", sort=True):
        figures = point_figures(part)
        by_level[level] = {n: _rounded(n, figures[n]) for n in ("median_mm", "within_6_mm")}
    return {**summary(errors), "levels": by_level}


def surest(keypoints: pd.DataFrame) -> pd.DataFrame:
    """One row of ``keypoints`` a cell of a study, the one that crops are cut around.

    A detector that looks at every series tells each point once a series, also where it is not
    shown. The most confident row counts, of equals the first.
    """
    ordered = keypoints.sort_values("confidence", ascending=False, kind="stable")
    return ordered.drop_duplicates(CELL).sort_index()


def measure_keypoints(
    *,
    detector: str,
    targets: Sequence[str],
    keypoints_paths: Sequence[str],
    stacks_paths: Sequence[str],
    landmarks_paths: Sequence[str],
    errors_path: str,
    summary_path: str,
) -> None:
    """Measure the out-of-fold error of ``detector``'s surest points against the landmarks.

    ``targets`` is all that it looks for. Raises SpinegradeError where it has no point to be
    measured by: crops could not be jittered by its error then.
    """
    landmarks = read_tables(list(landmarks_paths), LOCATED_LANDMARKS)
    keypoints = read_tables(list(keypoints_paths), KEYPOINTS)
    out_of_fold = keypoints[keypoints["source"].str.startswith(f"{detector}:fold_")]
    conditions = {TARGETS[target].condition for target in targets}
    of_targets = landmarks[landmarks["condition"].isin(conditions)]
    points = surest(out_of_fold)
    affines = affines_of(load_stacks(stacks_paths))
    errors = point_errors(points.assign(detector=detector), of_targets, affines)
    if errors.empty:
        raise SpinegradeError(
            f"detector {detector}: none of its {len(points)} out-of-fold keypoints has a "
            "landmark to be measured by; check train_label_coordinates.csv",
            code="POINTS_NOT_MEASURABLE",
        )
    with atomic_path(errors_path) as temporary:
        errors.to_parquet(temporary, index=False)
    write_json(summary_path, {"detector": detector, **levels_summary(errors)})
