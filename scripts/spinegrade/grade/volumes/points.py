"""The error of found points, as all are measured and in pixels of the heatmaps and by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.geometry.affine import to_pixels
from spinegrade.grade.volumes.canvas import CanvasGeometry, to_mask
from spinegrade.grade.volumes.settings import Settings
from spinegrade.metrics import points as measure
from spinegrade.metrics.points import CELL, MM, STACK, affines_of, share
from spinegrade.regions.region import mirrored
from spinegrade.volumes import Stack

WITHIN_PX = (1, 2, 5)
MORE_COLUMNS = ("fold", "anatomy", "error_x_px", "error_y_px", "other_side", "drift_slices")
"""Columns of the errors beside those of ``metrics.points`` and the ``detector``."""
# Rounding of an affine through mm must not push a point over a limit that it meets.
_ROUNDING = 1e-6


def point_errors(
    keypoints: pd.DataFrame,
    landmarks: pd.DataFrame,
    stacks: Iterable[Stack],
    settings: Settings,
    anatomy: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """One row for each out-of-fold keypoint whose landmark is known.

    ``keypoints`` and ``landmarks``: tables "keypoints" (of this network) and "located_landmarks";
    of a point annotated twice the first counts. Columns are those of ``metrics.points``, a
    ``detector`` and ``MORE_COLUMNS``. These are keypoint minus landmark, seen in the keypoint's own
    stack: ``error_x_px`` and ``error_y_px`` in mask px (four image pixels a
    side; to the patient's back and to the feet), ``error_slices`` in slices (to the left). For
    sided points, NaN where the other side has no landmark: ``other_side`` 1.0 where the keypoint
    is nearer, in slices, to the other side's landmark of its level; ``drift_slices`` how far it
    lies from its own towards that one. ``anatomy`` by study, "unknown" where it is not given.

    Raises SpinegradeError where a keypoint's stack is not among ``stacks``.
    """
    by_key = {(stack.study, stack.series, stack.stack): stack for stack in stacks}
    fold = keypoints["source"].str.extract(r":fold_(\d+)$")[0]
    own = keypoints[fold.notna()].assign(fold=fold.dropna().astype(int))
    own = own.assign(detector=settings.name).sort_values(STACK, kind="stable", ignore_index=True)
    truth = landmarks[landmarks["condition"] == settings.points.condition].drop_duplicates(CELL)
    common = measure.point_errors(own, truth, affines_of(by_key.values()))
    # The same rows in the same order, each with its own landmark and the other side's.
    pairs = own.merge(truth[[*CELL, *MM]], on=CELL, suffixes=("", "_own"))
    across = truth.assign(side=truth["side"].map(mirrored))
    across = across.loc[across["side"] != "central", [*CELL, *MM]]
    pairs = pairs.merge(across, "left", CELL, suffixes=("", "_other"))
    place = {}
    for end in ("", "_own", "_other"):
        mm = pairs[[f"{column}{end}" for column in MM]].to_numpy(float)
        place[end] = np.empty_like(mm)
        for key, rows in pairs.groupby(STACK).indices.items():
            place[end][rows] = _mask_places(mm[rows], by_key[key], settings)
    apart = place[""] - place["_own"]
    other = place["_other"][:, 2]
    nearer = np.abs(place[""][:, 2] - other) < np.abs(apart[:, 2])
    return common.assign(
        fold=pairs["fold"].to_numpy(),
        anatomy=[(anatomy or {}).get(study, "unknown") for study in common["study"]],
        error_x_px=apart[:, 0],
        error_y_px=apart[:, 1],
        error_slices=apart[:, 2],
        other_side=np.where(np.isnan(other), np.nan, nearer),
        drift_slices=apart[:, 2] * np.sign(other - place["_own"][:, 2]),
    )


def _mask_places(mm: NDArray[np.float64], stack: Stack, settings: Settings) -> NDArray[np.float64]:
    """Points (n, 3) in LPS mm as x, y in mask px and the slice of ``stack``; NaN stays NaN."""
    geometry = CanvasGeometry(stack, settings.canvas_px)
    canvas = to_pixels(geometry.to_pixels, to_pixels(stack.affine, mm))
    return to_mask(canvas, settings.canvas_px, settings.image_px)


def point_figures(errors: pd.DataFrame) -> dict[str, Any]:
    """Those of ``metrics.points``, and more; shares in 0 .. 1, None where there is nothing.

    ``within_px``: share of points within that many mask px along x, along y, along both.
    ``side_confusion``: share of points nearer to the other side's. ``drift_slices``: mean way
    towards the other side.
    """
    x, y = errors["error_x_px"].abs(), errors["error_y_px"].abs()
    within = {}
    for limit in WITHIN_PX:
        near = [axis <= limit + _ROUNDING for axis in (x, y)]
        parts = {"x": near[0], "y": near[1], "both": near[0] & near[1]}
        within[str(limit)] = {axis: _rounded(share(values)) for axis, values in parts.items()}
    figures = measure.point_figures(errors)
    # Whether a point lies on its side is asked in slices here: see ``side_confusion``.
    figures.pop("side_right")
    return {
        **{name: _rounded(value) for name, value in figures.items()},
        "within_px": within,
        "mean_slice_error": _rounded(share(errors["error_slices"].abs())),
        "side_confusion": _rounded(share(errors["other_side"])),
        "drift_slices": _rounded(share(errors["drift_slices"])),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def anatomies(truth: pd.DataFrame) -> dict[str, str]:
    """By study "typical" or "transitional" (four or six lumbar vertebrae), from a "truth" table."""
    first = truth.groupby("study")["anatomy"].first()
    return {s: "typical" if kind == "typical" else "transitional" for s, kind in first.items()}
