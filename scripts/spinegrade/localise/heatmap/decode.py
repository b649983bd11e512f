"""From heatmaps to points: the joint choice of levels, then a local mean about each mode.

A network that is unsure which vertebra is which gives two peaks a level. Choosing each level's
greatest peak alone can then skip or repeat a level, so the peaks of a side are chosen together:
of all ways to take one peak a level from head to feet, the one most probable under the heatmaps
and under the steps between levels in the training folds. Slices are chosen likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spinegrade.localise.heatmap.steps import Steps

FloatArray = NDArray[np.float64]
# Peaks taken from each heatmap and weighed together for each chain, and what a place without
# any support still counts.
_PEAKS_PER_POINT = 5
_PEAKS_PER_CHAIN = 16
_FLOOR = 1e-4


def _peaks(
    heatmaps: FloatArray, support: FloatArray, in_order: bool
) -> tuple[NDArray[np.int64], FloatArray]:
    """(k, 2) (row, column) of the chain's best local maxima and their support (points, k)."""
    found = set()
    top = ndimage.maximum_filter(heatmaps, size=(1, 3, 3))
    for heatmap, greatest in zip(heatmaps, top, strict=True):
        places = np.flatnonzero(heatmap >= greatest)
        best = places[np.argsort(-heatmap.ravel()[places], kind="stable")[:_PEAKS_PER_POINT]]
        found.update(best.tolist())
    places = np.array(sorted(found))
    flat = support.reshape(len(support), -1)
    if in_order and len(places) > _PEAKS_PER_CHAIN:
        weakest_last = np.argsort(-flat[:, places].max(axis=0), kind="stable")
        places = np.sort(places[weakest_last[:_PEAKS_PER_CHAIN]])
    return np.stack(np.unravel_index(places, heatmaps.shape[1:]), axis=1), flat[:, places]


def choose_peaks(
    heatmaps: FloatArray,
    chains: Sequence[Sequence[int]],
    steps: Steps | None,
    pixel_mm: float,
    radius: int = 2,
) -> NDArray[np.int64]:
    """(P, 2) heatmap pixel (row, column) chosen for each point.

    ``heatmaps`` (P, rows, cols) probabilities, ``pixel_mm`` their pixel. Support of a peak is the
    probability within ``radius`` pixels of it. Without ``steps``, or with fewer peaks than
    points, each point takes its own best peak.
    """
    chosen = np.zeros((len(heatmaps), 2), np.int64)
    window = 2 * radius + 1
    support = ndimage.uniform_filter(heatmaps, size=(1, window, window), mode="constant")
    support = np.log(support * window**2 + _FLOOR)
    for number, chain in enumerate(chains):
        members = list(chain)
        in_order = steps is not None and len(members) > 1
        peaks, unary = _peaks(heatmaps[members], support[members], in_order)
        if steps is None or not in_order or len(peaks) < len(members):
            chosen[members] = peaks[unary.argmax(axis=1)]
            continue
        # Peaks are sorted by row, so every combination runs from head to feet.
        ways = np.array(list(combinations(range(len(peaks)), len(members))))
        moved = np.diff(peaks[ways][:, :, ::-1], axis=1) * pixel_mm - steps.mean[number, :, :2]
        flat = moved.reshape(len(ways), -1)
        apart = (flat * np.linalg.solve(steps.covariance[number], flat.T).T).sum(axis=1)
        score = unary[np.arange(len(members)), ways].sum(axis=1) - 0.5 * apart
        chosen[members] = peaks[ways[int(score.argmax())]]
    return chosen


def choose_slices(
    slices: FloatArray, chains: Sequence[Sequence[int]], steps: Steps | None, slice_mm: float
) -> NDArray[np.int64]:
    """(P,) slice chosen for each point from probabilities (P, S), chain by chain (Viterbi)."""
    chosen = slices.argmax(axis=1)
    if steps is None:
        return chosen
    unary = np.log(slices + _FLOOR)
    positions = np.arange(slices.shape[1]) * slice_mm
    moved = positions[None, :] - positions[:, None]
    for number, chain in enumerate(chains):
        score, came_from = unary[chain[0]], []
        for link, point in enumerate(chain[1:]):
            apart = (moved - steps.mean[number, link, 2]) / steps.slice_deviation[number, link]
            both = score[:, None] - 0.5 * apart**2
            came_from.append(both.argmax(axis=0))
            score = both.max(axis=0) + unary[point]
        best = int(score.argmax())
        for place in range(len(chain) - 1, -1, -1):
            chosen[chain[place]] = best
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
    steps: Steps | None,
    stride: int,
    pixel_mm: float,
    slice_mm: float,
) -> tuple[FloatArray, FloatArray]:
    """Points (P, 3) of the input grid, (x, y, slice), and their confidences (P,) in 0 .. 1.

    ``in_plane`` (P, rows, cols) and ``slices`` (P, S) are probabilities; a heatmap pixel
    covers ``stride`` pixels of ``pixel_mm``, slices are ``slice_mm`` apart. A confidence is the
    probability near the point in the plane times that near it along the slices. Without
    ``slices`` the slice is 0.
    """
    chosen = choose_peaks(in_plane, chains, steps, pixel_mm * stride)
    places, confidence = local_mean(in_plane, chosen)
    points = np.zeros((len(in_plane), 3))
    points[:, :2] = (places + 0.5) * stride - 0.5
    if slices is not None:
        mode = choose_slices(slices, chains, steps, slice_mm)
        spread = np.stack([np.zeros_like(mode), mode], axis=1)
        along, mass = local_mean(slices[:, None, :], spread, radius=2)
        points[:, 2] = along[:, 0]
        confidence = confidence * mass
    return points, confidence
