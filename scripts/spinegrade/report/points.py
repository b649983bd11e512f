"""How far keypoints lie from where they should: by detector, level, side and slice."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.geometry.affine import to_pixels
from spinegrade.names import mirrored
from spinegrade.volumes import Stack

PLACE = ["study", "condition", "level", "side"]
MM = ["x_mm", "y_mm", "z_mm"]
NEAR_MM = 6.0


def keypoint_errors(
    keypoints: pd.DataFrame,
    reference: pd.DataFrame,
    stacks: dict[tuple[str, str, int], Stack],
) -> pd.DataFrame:
    """One row a keypoint that has a reference point for its cell.

    ``keypoints``: the keypoints table with a column detector. ``reference``: study, condition,
    level, side, x_mm, y_mm, z_mm (LPS), at most one row a cell (several are averaged), and
    anatomy.

    Columns beside the cell's: detector, anatomy, error_mm (distance in patient space),
    slices (signed, how many slices of its stack the keypoint lies above the reference),
    nearest_level (the level of the same side whose reference is nearest), side_right (false
    where the other side's reference at that level is nearer; null for central points).
    """
    points = reference.groupby(PLACE, as_index=False).agg(
        {**{column: "mean" for column in MM}, "anatomy": "first"}
    )
    found = keypoints.merge(points, on=PLACE, suffixes=("", "_true"))
    table = found[[*PLACE, "detector", "anatomy"]].copy()
    true_mm = found[[f"{column}_true" for column in MM]].to_numpy(float)
    table["error_mm"] = np.linalg.norm(found[MM].to_numpy(float) - true_mm, axis=1)
    table["slices"] = found["index"].to_numpy(float) - _index_of(true_mm, found, stacks)
    # Every keypoint beside every reference of its study and condition: at most ten.
    pairs = found[["study", "condition", "level", "side", *MM]].assign(row=np.arange(len(found)))
    pairs = pairs.merge(points, on=["study", "condition"], suffixes=("", "_other"))
    offset = pairs[[f"{c}_other" for c in MM]].to_numpy(float) - pairs[MM].to_numpy(float)
    pairs["away_mm"] = np.linalg.norm(offset, axis=1)
    same = pairs[pairs["side"] == pairs["side_other"]]
    nearest = same.loc[same.groupby("row")["away_mm"].idxmin()]
    table["nearest_level"] = nearest["level_other"].to_numpy()
    opposite = pairs["side_other"] == pairs["side"].map(mirrored)
    opposite &= (pairs["level_other"] == pairs["level"]) & (pairs["side"] != "central")
    other = pairs[opposite].set_index("row")["away_mm"].reindex(range(len(found)))
    right = (table["error_mm"].to_numpy() <= other.to_numpy()).astype(object)
    table["side_right"] = pd.array(np.where(other.isna(), None, right), dtype="boolean")
    return table


def _index_of(
    points_mm: NDArray[np.float64],
    rows: pd.DataFrame,
    stacks: dict[tuple[str, str, int], Stack],
) -> NDArray[np.float64]:
    """Fractional slice index (n,) of each point (n, 3) in the stack that its row names."""
    index = np.empty(len(rows))
    for (study, series, stack), places in rows.groupby(
        ["study", "series", "stack"]
    ).indices.items():
        affine = stacks[study, series, int(stack)].affine
        index[places] = to_pixels(affine, points_mm[places])[:, 2]
    return index


def shifted_studies(errors: pd.DataFrame) -> pd.Series:
    """By study (of one detector): whether any of its points lies nearest to another level's."""
    wrong = errors["nearest_level"] != errors["level"]
    return wrong.groupby(errors["study"]).any()


def summary(errors: pd.DataFrame) -> dict[str, float | None]:
    """Figures of one detector's (or level's) rows of ``keypoint_errors``.

    points, median_mm, p90_mm, within (share within ``NEAR_MM``), side_right, shifted (share
    of studies), slice_within_one. Null where a figure does not apply.
    """
    sides = errors["side_right"].dropna()
    return {
        "points": len(errors),
        "median_mm": float(errors["error_mm"].median()),
        "p90_mm": float(errors["error_mm"].quantile(0.9)),
        "within": float((errors["error_mm"] <= NEAR_MM).mean()),
        "side_right": float(sides.mean()) if len(sides) else None,
        "shifted": float(shifted_studies(errors).mean()),
        # Slices are whole: the reference lies nearest to the slice of its rounded index.
        "slice_within_one": float((errors["slices"].abs() < 1.5).mean()),
    }


def spread(values: pd.Series, count: int) -> list[tuple[str, str]]:
    """``count`` studies from best to worst of ``values`` (by study, low is good), named.

    Three are the best, the median and the worst; more are spread evenly between.
    """
    order = values.sort_values(kind="stable").index.tolist()
    if not order or count < 1:
        return []
    places = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    named = []
    for place in places:
        word = f"rank {place + 1} of {len(order)}"
        if len(order) == 1:
            word = "the only one"
        elif place == 0:
            word = "best"
        elif place == len(order) - 1:
            word = "worst"
        elif 2 * place in (len(order) - 1, len(order), len(order) - 2):
            word = "median"
        named.append((word, str(order[place])))
    return named
