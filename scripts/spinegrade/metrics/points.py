"""How far keypoints lie from where they should: one error and one set of figures for all.

Whoever finds points (localisers, graders of whole series) and whoever shows them (the reports)
measures them here, so that a figure of one name is one measure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import to_pixels
from spinegrade.regions.region import mirrored
from spinegrade.tables.cell_columns import LEVELS

CELL = ["study", "condition", "level", "side"]
MM = ["x_mm", "y_mm", "z_mm"]
STACK = ["study", "series", "stack"]
WITHIN_MM = 6.0
"""The one distance in the patient of which shares are told (``within_6_mm``)."""

_WITHIN_SLICES = 1.5
ERROR_COLUMNS = (
    *CELL,
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

Affines = Mapping[tuple[str, str, int], NDArray[np.float64]]
"""By study, series and stack the affine (4, 4) from its x, y, slice to LPS mm."""


def affines_of(stacks: Iterable[Any]) -> Affines:
    """Affines of ``volumes.Stack``s."""
    return {(stack.study, stack.series, stack.stack): stack.affine for stack in stacks}


def point_errors(keypoints: pd.DataFrame, points: pd.DataFrame, affines: Affines) -> pd.DataFrame:
    """One row of ``ERROR_COLUMNS`` for each of ``keypoints`` whose point is known, in their order.

    ``points``: landmarks as located, or a truth table; columns of ``CELL`` and ``MM``, and
    optionally series, stack and index. Of a cell that stands twice the first counts.
    ``error_*_mm`` is keypoint minus point in LPS. In the plane the error is the part within the
    keypoint's slice; along the slices it is counted in slices: between the two indices where the
    point is annotated in the keypoint's own stack, else the distance to the keypoint's slice plane
    over the spacing. ``side_right`` (boolean, null for central points and where the other side's
    is unknown): the point of the keypoint's own side is not farther than that of the other.
    ``level_shift``: level of the nearest point of that side, minus the keypoint's own (+1: one
    level too low). A column ``detector`` of the keypoints is kept.

    Raises SpinegradeError where a keypoint's stack is not among ``affines``.
    """
    points = points[np.isfinite(points[MM].to_numpy(float)).all(axis=1)].drop_duplicates(CELL)
    # A truth table knows no slices: there nothing is annotated in the keypoint's own stack.
    annotated = [name for name in ("series", "stack", "index") if name in points]
    pairs = keypoints.merge(points[[*CELL, *MM, *annotated]], on=CELL, suffixes=("", "_known"))
    own, known = (pairs[[f"{c}{end}" for c in MM]].to_numpy(float) for end in ("", "_known"))
    apart = np.array(pairs[["x_px", "y_px", "index"]], float)  # a copy
    in_plane_mm = np.empty((len(pairs), 3))
    for key, rows in pairs.groupby(STACK).indices.items():
        if key not in affines:
            raise SpinegradeError(
                f"keypoints of study {key[0]}, series {key[1]}, stack {key[2]}: the stack is not "
                "among the converted ones; find the points again",
                code="POINTS_STACK_UNKNOWN",
            )
        apart[rows] -= to_pixels(affines[key], known[rows])
        in_plane_mm[rows] = apart[rows, :2] @ affines[key][:3, :2].T
    if len(annotated) == 3:
        same = (pairs["series"] == pairs["series_known"]) & (pairs["stack"] == pairs["stack_known"])
        between = (pairs["index"] - pairs["index_known"]).to_numpy(float)
        apart[:, 2] = np.where(same, between, apart[:, 2])
    kept = [name for name in ("detector",) if name in keypoints]
    table = pairs[[*kept, *CELL, "confidence"]].assign(
        error_mm=np.linalg.norm(own - known, axis=1),
        error_in_plane_mm=np.linalg.norm(in_plane_mm, axis=1),
        error_in_plane_px=np.linalg.norm(apart[:, :2], axis=1),
        error_slices=apart[:, 2],
    )
    table[["error_x_mm", "error_y_mm", "error_z_mm"]] = own - known
    return _with_neighbours(table, own, points)[[*kept, *ERROR_COLUMNS]]


def _with_neighbours(
    table: pd.DataFrame, own: NDArray[np.float64], points: pd.DataFrame
) -> pd.DataFrame:
    """``table`` with ``side_right`` and ``level_shift``: every keypoint beside all points.

    ``own`` (n, 3) are the keypoints in mm. Of one study and condition there are ten at most.
    """
    left = table[CELL].assign(row=np.arange(len(table)))
    pairs = left.merge(points[[*CELL, *MM]], on=["study", "condition"], suffixes=("", "_other"))
    away = np.linalg.norm(pairs[MM].to_numpy(float) - own[pairs["row"]], axis=1)
    place, own_place = (
        pairs[name].map(LEVELS.index).astype(np.int64) for name in ("level_other", "level")
    )
    pairs = pairs.assign(away_mm=away, shift=place - own_place, place=place)
    # Of levels that are equally far the upper one counts.
    same = pairs[pairs["side"] == pairs["side_other"]].sort_values(["row", "away_mm", "place"])
    nearest = same.drop_duplicates("row").set_index("row")["shift"]
    across = (pairs["side_other"] == pairs["side"].map(mirrored)) & (pairs["side"] != "central")
    other = pairs[across & (pairs["shift"] == 0)].set_index("row")["away_mm"]
    other = other.reindex(range(len(table)))
    right = (table["error_mm"].to_numpy() <= other.to_numpy()).astype(object)
    return table.assign(
        side_right=pd.array(np.where(other.isna(), None, right), dtype="boolean"),
        level_shift=nearest.reindex(range(len(table))).to_numpy(np.int64),
    )


def share(values: pd.Series) -> float | None:
    """The mean of ``values`` (of true ones the share), nulls left out; None where none is left."""
    values = values.dropna()
    return float(values.astype(float).mean()) if len(values) else None


def point_figures(errors: pd.DataFrame) -> dict[str, Any]:
    """Figures of some rows of ``point_errors``, shares in 0 .. 1; None where there is none.

    ``within_6_mm``: share of points at most ``WITHIN_MM`` from their own. ``slice_within_1``:
    share of points in the slice of their own, or in one next to it; an error between slices is
    rounded to whole ones, so that it is one below 1.5. ``side_right``: of the points with a known
    other side. ``level_shift_points`` and ``level_shift_studies``: share of points nearer to
    another level's point than to their own, and of studies with such a point.
    """
    shifted = errors["level_shift"] != 0
    of_studies = shifted.groupby(errors["study"]).any()
    distances = errors["error_mm"]
    return {
        "points": len(errors),
        "studies": len(of_studies),
        "median_mm": float(distances.median()) if len(errors) else None,
        "p90_mm": float(distances.quantile(0.9)) if len(errors) else None,
        "within_6_mm": share(distances <= WITHIN_MM),
        "slice_within_1": share(errors["error_slices"].abs() < _WITHIN_SLICES),
        "side_right": share(errors["side_right"]) if "side_right" in errors else None,
        "level_shift_points": share(shifted),
        "level_shift_studies": share(of_studies),
    }
