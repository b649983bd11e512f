"""From heatmaps to points: the joint choice of levels, then a local mean about the mode.

A network that is unsure which vertebra is which gives two peaks a level. Choosing each level's
greatest peak alone can then skip or repeat a level, so the peaks of all levels are chosen
together: the chain from L1/L2 to L5/S1 that is most probable under the heatmaps and under the
spacing of neighbouring levels in the training folds (the Viterbi algorithm).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float64]
# Peaks weighed per chain, and what a place without any support still counts.
_PEAKS_PER_POINT = 5
_FLOOR = 1e-4
# Spread of spacings is estimated from few studies: floor of its standard deviation, and how
# much wider than estimated it is taken.
_SPACING_FLOOR_MM = 4.0
_SPACING_WIDENING = 1.5


class Spacing(NamedTuple):
    """Steps between neighbouring levels in the plane of a grid, in mm.

    ``mean`` (links, 2) and ``deviation`` (links, 2), (x, y) of the grid, links in the order of
    the chains' neighbours.
    """

    mean: FloatArray
    deviation: FloatArray

    def to_lists(self) -> dict[str, list[list[float]]]:
        """As plain lists, for a weights file's header."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def from_lists(cls, value: dict[str, list[list[float]]]) -> Spacing:
        """Inverse of ``to_lists``."""
        return cls(np.array(value["mean"]), np.array(value["deviation"]))


def fit_spacing(
    points: FloatArray, known: NDArray[np.bool_], chains: Sequence[Sequence[int]], pixel_mm: float
) -> Spacing:
    """Mean and spread of the steps between neighbouring points of each chain.

    ``points`` (n, P, 3) in grid pixels of ``pixel_mm``, ``known`` (n, P). A link that no study
    shows gets the mean over the other links, or 30 mm down where there are none.
    """
    means, deviations = [], []
    for chain in chains:
        for above, below in pairwise(chain):
            both = known[:, above] & known[:, below]
            steps = (points[both, below, :2] - points[both, above, :2]) * pixel_mm
            enough = len(steps) > 1
            means.append(steps.mean(axis=0) if enough else np.full(2, np.nan))
            deviations.append(steps.std(axis=0, ddof=1) if enough else np.full(2, np.nan))
    mean, deviation = np.array(means), np.array(deviations)
    lost = np.isnan(mean[:, 0])
    mean[lost] = mean[~lost].mean(axis=0) if not lost.all() else [0.0, 30.0]
    deviation[lost] = deviation[~lost].mean(axis=0) if not lost.all() else [6.0, 6.0]
    return Spacing(mean, np.maximum(deviation * _SPACING_WIDENING, _SPACING_FLOOR_MM))


def _peaks(heatmaps: FloatArray, count: int) -> NDArray[np.int64]:
    """(row, column) of the ``count`` greatest local maxima of each heatmap (P, rows, cols)."""
    found = set()
    top = ndimage.maximum_filter(heatmaps, size=(1, 3, 3))
    for heatmap, greatest in zip(heatmaps, top, strict=True):
        places = np.flatnonzero(heatmap >= greatest)
        best = places[np.argsort(-heatmap.ravel()[places], kind="stable")[:count]]
        found.update(best.tolist())
    return np.stack(np.unravel_index(sorted(found), heatmaps.shape[1:]), axis=1)


def choose_peaks(
    heatmaps: FloatArray,
    chains: Sequence[Sequence[int]],
    spacing: Spacing | None,
    pixel_mm: float,
    radius: int = 2,
) -> NDArray[np.int64]:
    """(P, 2) heatmap pixel (row, column) chosen for each point.

    ``heatmaps`` (P, rows, cols) probabilities, ``pixel_mm`` their pixel. Support of a peak is the
    probability within ``radius`` pixels of it. Without ``spacing`` each point takes its own
    best peak.
    """
    points = len(heatmaps)
    chosen = np.zeros((points, 2), np.int64)
    window = 2 * radius + 1
    support = ndimage.uniform_filter(heatmaps, size=(1, window, window), mode="constant")
    support = np.log(support * window**2 + _FLOOR)
    link = 0
    for chain in chains:
        peaks = _peaks(heatmaps[list(chain)], _PEAKS_PER_POINT)
        unary = support[list(chain)][:, peaks[:, 0], peaks[:, 1]]
        if spacing is None:
            chosen[list(chain)] = peaks[unary.argmax(axis=1)]
            continue
        steps = (peaks[None, :, ::-1] - peaks[:, None, ::-1]) * pixel_mm
        score, came_from = unary[0], []
        for place in range(1, len(chain)):
            apart = (steps - spacing.mean[link]) / spacing.deviation[link]
            link += 1
            both = score[:, None] - 0.5 * (apart**2).sum(axis=2)
            came_from.append(both.argmax(axis=0))
            score = both.max(axis=0) + unary[place]
        best = int(score.argmax())
        for place in range(len(chain) - 1, -1, -1):
            chosen[chain[place]] = peaks[best]
            if place:
                best = int(came_from[place - 1][best])
    return chosen


def local_mean(
    heatmaps: FloatArray, chosen: NDArray[np.int64], radius: int = 2
) -> tuple[FloatArray, FloatArray]:
    """Mean (x, y) of each heatmap within ``radius`` pixels of its chosen pixel, and its mass.

    Returns (P, 2) in heatmap pixels and (P,) probabilities in 0 .. 1.
    """
    places, masses = np.zeros((len(heatmaps), 2)), np.zeros(len(heatmaps))
    rows = heatmaps.shape[1]
    for point, (row, col) in enumerate(chosen):
        top, left = max(row - radius, 0), max(col - radius, 0)
        part = heatmaps[point, top : min(row + radius + 1, rows), left : col + radius + 1]
        mass = part.sum()
        if mass > 0:
            x = (part.sum(axis=0) @ np.arange(left, left + part.shape[1])) / mass
            y = (part.sum(axis=1) @ np.arange(top, top + part.shape[0])) / mass
            places[point] = x, y
        else:
            places[point] = col, row
        masses[point] = min(float(mass), 1.0)
    return places, masses


def decode(
    in_plane: FloatArray,
    slices: FloatArray | None,
    *,
    chains: Sequence[Sequence[int]],
    spacing: Spacing | None,
    stride: int,
    pixel_mm: float,
) -> tuple[FloatArray, FloatArray]:
    """Points (P, 3) of the input grid, (x, y, slice), and their confidences (P,) in 0 .. 1.

    ``in_plane`` (P, rows, cols) and ``slices`` (P, S) are probabilities; a heatmap pixel
    covers ``stride`` pixels of ``pixel_mm``. A confidence is the probability near the point in the
    plane times that within one slice of it. Without ``slices`` the slice is 0.
    """
    chosen = choose_peaks(in_plane, chains, spacing, pixel_mm * stride)
    places, confidence = local_mean(in_plane, chosen)
    points = np.zeros((len(in_plane), 3))
    points[:, :2] = (places + 0.5) * stride - 0.5
    if slices is not None:
        mode = slices.argmax(axis=1)
        spread = np.stack([np.zeros_like(mode), mode], axis=1)
        along, mass = local_mean(slices[:, None, :], spread, radius=2)
        points[:, 2] = along[:, 0]
        confidence = confidence * mass
    return points, confidence
