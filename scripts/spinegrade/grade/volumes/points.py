"""The error of found points, in pixels of the heatmaps, in slices and by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import to_pixels
from spinegrade.grade.volumes.canvas import CanvasGeometry, to_mask
from spinegrade.grade.volumes.settings import Settings
from spinegrade.names import LUMBAR_LEVELS, Cell, mirrored
from spinegrade.volumes import Stack

WITHIN_PX = (1, 2, 5)
WITHIN_MM = 6.0
ERROR_COLUMNS = (
    "study",
    "fold",
    "level",
    "side",
    "anatomy",
    "error_x_px",
    "error_y_px",
    "error_slices",
    "error_mm",
    "level_shift",
    "other_side",
    "drift_slices",
    "confidence",
)
# Rounding of an affine through mm must not push a point over a limit that it meets.
_ROUNDING = 1e-6
_MM = ["x_mm", "y_mm", "z_mm"]


class _Place(NamedTuple):
    """A point: ``mask`` (3,) x, y in mask px and slice of the keypoint's stack; ``mm`` (3,) LPS."""

    mask: NDArray[np.float64]
    mm: NDArray[np.float64]


def point_errors(
    keypoints: pd.DataFrame,
    landmarks: pd.DataFrame,
    stacks: Iterable[Stack],
    settings: Settings,
    anatomy: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """One row of ``ERROR_COLUMNS`` for each out-of-fold keypoint whose landmark is known.

    ``keypoints`` and ``landmarks``: tables "keypoints" (of this network) and "located_landmarks";
    of a point annotated twice the first counts. Errors are keypoint minus landmark, seen in the
    keypoint's own stack: ``error_x_px`` and ``error_y_px`` in mask px (four image pixels a side;
    to the patient's back and to the feet), ``error_slices`` in slices (to the left), ``error_mm``
    the distance in the patient. ``level_shift``: level of the nearest landmark of that side, minus
    the keypoint's own (+1: one level too low). For sided points, NaN where the other side has
    no landmark: ``other_side`` 1.0 where the keypoint is nearer, in slices, to the other side's
    landmark of its level; ``drift_slices`` how far it lies from its own towards that one.
    ``anatomy`` by study, "unknown" where it is not given.

    Raises SpinegradeError where a keypoint's stack is not among ``stacks``.
    """
    by_key = {(stack.study, stack.series, stack.stack): stack for stack in stacks}
    condition = settings.points.condition
    wanted = landmarks[landmarks["condition"] == condition].drop_duplicates(
        ["study", "level", "side"]
    )
    by_study = dict(list(wanted.groupby("study")))
    fold = keypoints["source"].str.extract(r":fold_(\d+)$")[0]
    rows: list[tuple[Any, ...]] = []
    out_of_fold = keypoints[fold.notna()].assign(fold=fold.dropna().astype(int))
    for key, found in out_of_fold.groupby(["study", "series", "stack"], sort=True):
        if key not in by_key:
            raise SpinegradeError(
                f"keypoints of {settings.name}: study {key[0]}, series {key[1]}, stack {key[2]} is "
                "not among the converted stacks; run predict_one_stage again"
            )
        known = by_study.get(key[0])
        if known is None:
            continue
        geometry = CanvasGeometry(by_key[key], settings.canvas_px)
        truth = _placed(known, by_key[key], geometry, settings)
        names = (key[0], (anatomy or {}).get(key[0], "unknown"))
        places = _placed(found, by_key[key], geometry, settings)
        for cell, row in zip(_cells(found), found.itertuples(), strict=True):
            if cell in truth:
                rows.append(_errors(names, cell, row, places[cell], truth))
    return pd.DataFrame(rows, columns=list(ERROR_COLUMNS))


def _cells(rows: pd.DataFrame) -> list[Cell]:
    return [Cell(*key) for key in rows[["condition", "level", "side"]].itertuples(index=False)]


def _placed(
    rows: pd.DataFrame, stack: Stack, geometry: CanvasGeometry, settings: Settings
) -> dict[Cell, _Place]:
    mm = rows[_MM].to_numpy(float)
    canvas = to_pixels(geometry.to_pixels, to_pixels(stack.affine, mm))
    mask = to_mask(canvas, settings.canvas_px, settings.image_px)
    return {cell: _Place(*pair) for cell, *pair in zip(_cells(rows), mask, mm, strict=True)}


def _errors(
    names: tuple[str, str], cell: Cell, row: Any, place: _Place, truth: Mapping[Cell, _Place]
) -> tuple[Any, ...]:
    own = truth[cell]
    apart = place.mask - own.mask
    other = truth.get(cell._replace(side=mirrored(cell.side)))
    crossed = drift = np.nan
    if other is not None and cell.side != "central":
        across = other.mask[2] - own.mask[2]
        crossed = float(abs(place.mask[2] - other.mask[2]) < abs(apart[2]))
        drift = float(apart[2] * np.sign(across))
    distances = {
        level: np.linalg.norm(place.mm - truth[level_cell].mm)
        for level in LUMBAR_LEVELS
        if (level_cell := cell._replace(level=level)) in truth
    }
    nearest = min(distances, key=distances.__getitem__)
    return (
        names[0],
        int(row.fold),
        cell.level,
        cell.side,
        names[1],
        *apart.tolist(),
        float(np.linalg.norm(place.mm - own.mm)),
        LUMBAR_LEVELS.index(nearest) - LUMBAR_LEVELS.index(cell.level),
        crossed,
        drift,
        float(row.confidence),
    )


def point_figures(errors: pd.DataFrame) -> dict[str, Any]:
    """Figures of ``errors``, shares in 0 .. 1; None where there is nothing to count.

    ``within_px``: share of points within that many mask px along x, along y, along both.
    ``level_shift_studies``: share of studies with a shifted point. ``side_confusion``: share of
    points nearer to the other side's. ``drift_slices``: mean way towards the other side.
    """
    x, y = errors["error_x_px"].abs(), errors["error_y_px"].abs()
    shifted = errors["level_shift"] != 0
    within = {}
    for limit in WITHIN_PX:
        near = [axis <= limit + _ROUNDING for axis in (x, y)]
        within[str(limit)] = {
            "x": _mean(near[0]),
            "y": _mean(near[1]),
            "both": _mean(near[0] & near[1]),
        }
    return {
        "points": len(errors),
        "studies": int(errors["study"].nunique()),
        "within_px": within,
        "within_6_mm": _mean(errors["error_mm"] <= WITHIN_MM),
        "median_mm": _rounded(errors["error_mm"].median()),
        "slice_within_1": _mean(errors["error_slices"].abs() <= 1 + _ROUNDING),
        "mean_slice_error": _mean(errors["error_slices"].abs()),
        "level_shift_points": _mean(shifted),
        "level_shift_studies": _mean(shifted.groupby(errors["study"]).any()),
        "side_confusion": _mean(errors["other_side"].dropna()),
        "drift_slices": _mean(errors["drift_slices"].dropna()),
    }


def _mean(values: pd.Series) -> float | None:
    return _rounded(values.mean()) if len(values) else None


def _rounded(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def anatomies(truth: pd.DataFrame) -> dict[str, str]:
    """By study "typical" or "transitional" (four or six lumbar vertebrae), from a "truth" table."""
    first = truth.groupby("study")["anatomy"].first()
    return {s: "typical" if kind == "typical" else "transitional" for s, kind in first.items()}
