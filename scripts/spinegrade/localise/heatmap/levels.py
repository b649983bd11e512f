"""Where the levels lie in the patient, told by one sequence to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.geometry.affine import Affine, to_pixels
from spinegrade.localise.heatmap.offsets import Offsets, middles
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_LEVELS, SPINAL

# How far another sequence's word on a level may be off (twice what was measured on phantoms),
# and how little a place counts that it speaks against: heatmaps that all contradict it clearly
# still win.
_GUIDE_MM = 6.0
_GUIDE_FLOOR = 0.02


class LevelPlace(NamedTuple):
    """Where a level lies in the patient (LPS mm), and which condition's points say so."""

    point_mm: tuple[float, float, float]
    condition: str


def level_places(points: pd.DataFrame, offsets: Offsets) -> dict[str, LevelPlace]:
    """Where each level of one study lies, from its keypoints or located landmarks.

    The canal point of the level; without one (no sagittal T2) the middle of the level's foraminal
    points, or the one that there is, moved by the level's ``offsets``.
    """
    found = {}
    for condition in (FORAMINAL, SPINAL):
        found_at = middles(points, condition)
        for (_, level), middle in zip(found_at.index, found_at.to_numpy(), strict=True):
            moved = middle + offsets[level] if condition == FORAMINAL else middle
            found[level] = LevelPlace(tuple(moved.tolist()), condition)
    return {level: found[level] for level in LUMBAR_LEVELS if level in found}


def guide_weights(
    places: Mapping[str, LevelPlace],
    levels: Sequence[str],
    to_mm: Affine,
    shape: tuple[int, int],
    stride: int,
) -> NDArray[np.float64]:
    """(P, rows, cols) weights of heatmap pixels by their distance from the levels' places.

    ``levels`` (P,) of the points, ``shape`` of a heatmap whose pixels cover ``stride`` of the grid
    that ``to_mm`` belongs to. One at the place, falling to a floor; one everywhere without a place.
    """
    weights = np.ones((len(levels), *shape))
    pixel_mm = np.linalg.norm(to_mm[:3, :2], axis=0) * stride
    for row, level in zip(weights, levels, strict=True):
        if level in places:
            seen = to_pixels(to_mm, [places[level].point_mm])[0, :2]
            x, y = (seen + 0.5) / stride - 0.5
            across = (np.arange(shape[1]) - x) * pixel_mm[0]
            down = (np.arange(shape[0]) - y) * pixel_mm[1]
            squared = down[:, None] ** 2 + across**2
            row[:] = _GUIDE_FLOOR + (1 - _GUIDE_FLOOR) * np.exp(-squared / (2 * _GUIDE_MM**2))
    return weights
