"""The error of keypoints, against landmarks or against true points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import to_pixels
from spinegrade.names import LUMBAR_LEVELS
from spinegrade.runtime.files import atomic_path, write_json
from spinegrade.tables import read_tables
from spinegrade.targets import TARGETS
from spinegrade.volumes import Stack, load_stacks

_MM = ["x_mm", "y_mm", "z_mm"]
_CELL = ["study", "condition", "level", "side"]
WITHIN_MM = 6.0
ERROR_COLUMNS = (
    "detector",
    *_CELL,
    "error_mm",
    "error_in_plane_mm",
    "error_in_plane_px",
    "error_x_mm",
    "error_y_mm",
    "error_z_mm",
    "error_slices",
    "side_right",
    "level_shift",
    "confidence",
)


def point_errors(
    detector: str, keypoints: pd.DataFrame, points: pd.DataFrame, stacks: list[Stack]
) -> pd.DataFrame:
    """One row of ``ERROR_COLUMNS`` for each keypoint whose point is known.

    ``points``: landmarks as located, or a truth table; columns study, condition, level, side,
    x_mm, y_mm, z_mm, and optionally series, stack and index. ``error_*_mm`` is keypoint minus
    point in LPS. In the plane the error is the part within the keypoint's slice; along the slices
    it is counted in slices: between the two indices where the point is annotated in the keypoint's
    own stack, else the distance to the keypoint's slice plane over the spacing.
    ``side_right``: the point of the keypoint's own side is not farther than that of the other
    (true for central ones). ``level_shift``: level of the nearest point of that side, minus
    the keypoint's own (+1: one level too low).
    """
    by_stack = {(stack.study, stack.series, stack.stack): stack for stack in stacks}
    known = {
        tuple(key): (mm, place)
        for key, mm, place in zip(
            points[_CELL].itertuples(index=False, name=None),
            points[_MM].to_numpy(float),
            _places(points),
            strict=True,
        )
        if np.isfinite(mm).all()
    }
    rows = []
    for keypoint in keypoints.itertuples():
        key = (keypoint.study, keypoint.condition, keypoint.level, keypoint.side)
        if key not in known:
            continue
        point, annotated = known[key]
        stack = by_stack[keypoint.study, keypoint.series, keypoint.stack]
        own = np.array([keypoint.x_mm, keypoint.y_mm, keypoint.z_mm])
        seen = to_pixels(stack.affine, point[None])[0]
        apart = np.array([keypoint.x_px, keypoint.y_px, keypoint.index]) - seen
        if annotated is not None and annotated[:2] == (keypoint.series, keypoint.stack):
            apart[2] = keypoint.index - annotated[2]
        in_plane_mm = stack.affine[:3, :2] @ apart[:2]
        rows.append(
            (
                detector,
                *key,
                float(np.linalg.norm(own - point)),
                float(np.linalg.norm(in_plane_mm)),
                float(np.linalg.norm(apart[:2])),
                *(own - point).tolist(),
                float(apart[2]),
                _side_right(known, key, own),
                _level_shift(known, key, own),
                keypoint.confidence,
            )
        )
    return pd.DataFrame(rows, columns=list(ERROR_COLUMNS))


def _places(points: pd.DataFrame) -> list[tuple[str, int, int] | None]:
    if not {"series", "stack", "index"} <= set(points.columns):
        return [None] * len(points)
    return [
        (row.series, int(row.stack), int(row.index_))
        for row in points.rename(columns={"index": "index_"}).itertuples()
    ]


def _side_right(known: dict, key: tuple[str, str, str, str], own: np.ndarray) -> bool:
    study, condition, level, side = key
    other = (study, condition, level, {"left": "right", "right": "left"}.get(side, ""))
    if other not in known:
        return True
    return bool(np.linalg.norm(own - known[key][0]) <= np.linalg.norm(own - known[other][0]))


def _level_shift(known: dict, key: tuple[str, str, str, str], own: np.ndarray) -> int:
    study, condition, level, side = key
    places = {lv: known.get((study, condition, lv, side)) for lv in LUMBAR_LEVELS}
    distance = {lv: np.linalg.norm(own - found[0]) for lv, found in places.items() if found}
    nearest = min(distance, key=distance.__getitem__)
    return LUMBAR_LEVELS.index(nearest) - LUMBAR_LEVELS.index(level)


def summary(errors: pd.DataFrame) -> dict[str, Any]:
    """Figures of one detector's ``errors``: see the keys; None where there is nothing to count.

    ``in_plane_sd_mm`` is the standard deviation along one axis of the plane, about zero
    and capped at ``2 * WITHIN_MM`` a point, so that one level shift does not set the jitter of all
    crops; ``slice_sd`` likewise. A study is shifted where any of its points is.
    """
    count = len(errors)
    studies = errors.groupby("study")["level_shift"].agg(lambda shift: bool((shift != 0).any()))
    sided = errors[errors["side"] != "central"]

    def share(values: pd.Series) -> float | None:
        return round(float(values.mean()), 4) if len(values) else None

    def quantile(column: str, level: float) -> float | None:
        return round(float(errors[column].quantile(level)), 3) if count else None

    in_plane = np.minimum(errors["error_in_plane_mm"], 2 * WITHIN_MM)
    along = np.clip(errors["error_slices"], -3.0, 3.0)
    return {
        "points": count,
        "studies": int(errors["study"].nunique()),
        "median_mm": quantile("error_mm", 0.5),
        "p90_mm": quantile("error_mm", 0.9),
        "median_in_plane_mm": quantile("error_in_plane_mm", 0.5),
        "within_6_mm": share(errors["error_mm"] <= WITHIN_MM),
        "side_right": share(sided["side_right"]),
        "slice_within_1": share(errors["error_slices"].abs() < 1.5),
        "level_shift_points": share(errors["level_shift"] != 0),
        "level_shift_studies": share(studies),
        "shifted_studies": sorted(studies.index[studies.to_numpy(bool)]),
        "in_plane_sd_mm": _deviation(in_plane, 2),
        "slice_sd": _deviation(along, 1),
    }


def _deviation(values: pd.Series, axes: int) -> float | None:
    if not len(values):
        return None
    return round(float(np.sqrt((values**2).mean() / axes)), 4)


def levels_summary(errors: pd.DataFrame) -> dict[str, Any]:
    """``summary`` of one detector's ``errors``, with the main figures by level under "levels"."""
    by_level = {
        level: {
            "median_mm": round(float(part["error_mm"].median()), 3),
            "within_6_mm": round(float((part["error_mm"] <= WITHIN_MM).mean()), 4),
        }
        for level, part in errors.groupby("level", sort=True)
    }
    return {**summary(errors), "levels": by_level}


def surest(keypoints: pd.DataFrame) -> pd.DataFrame:
    """One row of ``keypoints`` a cell of a study, the one that crops are cut around.

    A detector that looks at every series tells each point once a series, also where it is not
    shown. The most confident row counts, of equals the first.
    """
    ordered = keypoints.sort_values("confidence", ascending=False, kind="stable")
    return ordered.drop_duplicates(_CELL).sort_index()


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
    landmarks = read_tables(list(landmarks_paths), "located_landmarks")
    keypoints = read_tables(list(keypoints_paths), "keypoints")
    out_of_fold = keypoints[keypoints["source"].str.startswith(f"{detector}:fold_")]
    conditions = {TARGETS[target].condition for target in targets}
    of_targets = landmarks[landmarks["condition"].isin(conditions)]
    points = surest(out_of_fold)
    errors = point_errors(detector, points, of_targets, load_stacks(stacks_paths))
    if errors.empty:
        raise SpinegradeError(
            f"detector {detector}: none of its {len(points)} out-of-fold keypoints has a "
            "landmark to be measured by; check train_label_coordinates.csv"
        )
    with atomic_path(errors_path) as temporary:
        errors.to_parquet(temporary, index=False)
    write_json(summary_path, {"detector": detector, **levels_summary(errors)})
