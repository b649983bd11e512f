"""Training samples of a detector: grids and points from volumes and located landmarks."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.geometry.affine import to_pixels
from spinegrade.geometry.planes import nearest_slice
from spinegrade.localise.heatmap.grids import Grid, axial_crop, sagittal_grid
from spinegrade.localise.heatmap.settings import Settings
from spinegrade.regions.lumbar_mri import SPINAL
from spinegrade.regions.region import Target
from spinegrade.runtime.progress import progress
from spinegrade.volumes import Stack

_LOGGER = logging.getLogger("spinegrade")


@dataclass(frozen=True)
class Samples:
    """``images`` uint8 (n, slices, rows, cols), ``points`` float32 (n, P, 3), ``known`` (n, P).

    Points are (x, y, slice) of each image's grid; ``studies`` names each sample's study.
    """

    images: NDArray[np.uint8]
    points: NDArray[np.float32]
    known: NDArray[np.bool_]
    studies: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


def stacks_by_study(stacks: Iterable[Stack], target: Target) -> dict[str, list[Stack]]:
    """The stacks of the target's plane and weighting, by study."""
    found: dict[str, list[Stack]] = {}
    for stack in stacks:
        if (stack.plane, stack.weighting) == (target.plane, target.weighting):
            found.setdefault(stack.study, []).append(stack)
    return found


def grid_of(stack: Stack, grid: Mapping[str, Any]) -> Grid:
    """The sagittal grid of ``stack`` by a detector's ``grid`` settings."""
    shape = (grid["slices"], grid["rows"], grid["cols"])
    return sagittal_grid(stack, shape, grid["pixel_mm"], grid["slice_mm"])


def sagittal_samples(
    target: Target,
    stacks: Mapping[str, list[Stack]],
    landmarks: pd.DataFrame,
    studies: Iterable[str],
    grid: Mapping[str, Any],
) -> Samples:
    """One sample a study: the stack that bears most of its landmarks.

    Studies without such a stack or without landmarks are left out and listed in the log.
    """
    of_target = landmarks[landmarks["condition"] == target.condition]
    by_study = dict(list(of_target.groupby("study", sort=True)))
    images, points, kept, left_out = [], [], [], []
    for study in progress(sorted(studies), f"Reading {target.name} studies"):
        rows = by_study.get(study)
        rivals = stacks.get(study, [])
        counts = [
            0 if rows is None else ((rows["series"] == s.series) & (rows["stack"] == s.stack)).sum()
            for s in rivals
        ]
        if not counts or max(counts) == 0:
            left_out.append(study)
            continue
        stack = rivals[int(np.argmax(counts))]
        prepared = grid_of(stack, grid)
        images.append(prepared.array)
        points.append(_points_of(target, rows, prepared))
        kept.append(study)
    _tell_left_out(target, left_out)
    return _samples(images, points, kept, target)


def axial_samples(
    target: Target,
    stacks: Mapping[str, list[Stack]],
    landmarks: pd.DataFrame,
    studies: Iterable[str],
    grid: Mapping[str, Any],
    margin: int,
) -> Samples:
    """One sample an annotated axial slice and level, cropped around the canal.

    The centre is the annotated canal point projected into the slice, or, where that is
    missing, the mean of the slice's own points. A side annotated in another slice is projected too.
    Images are ``margin`` pixels larger at each edge than the network's input.
    """
    chosen = landmarks[landmarks["study"].isin(set(studies))]
    canal = {
        (row.study, row.level): (row.x_mm, row.y_mm, row.z_mm)
        for row in chosen[chosen["condition"] == SPINAL].itertuples()
    }
    shape = (grid["slices"], grid["rows"] + 2 * margin, grid["cols"] + 2 * margin)
    images, points, kept = [], [], []
    of_target = chosen[chosen["condition"] == target.condition]
    levels = of_target.groupby(["study", "level"], sort=True)
    for (study, level), rows in progress(levels, f"Reading {target.name} slices", len(levels)):
        places = {(s.series, s.stack): s for s in stacks.get(study, [])}
        for (series, number, index), _ in rows.groupby(["series", "stack", "index"], sort=True):
            stack = places.get((series, number))
            if stack is None:
                continue
            centre = canal.get((study, level), tuple(rows[["x_mm", "y_mm", "z_mm"]].mean()))
            seen = nearest_slice(stack.affine, stack.slices, [centre])
            centre_px = (float(seen.x_px[0]), float(seen.y_px[0]))
            crop = axial_crop(stack, int(index), centre_px, shape, grid["pixel_mm"])
            images.append(crop.array)
            points.append(_points_of(target, rows, crop))
            kept.append(study)
    _tell_left_out(target, sorted(set(studies) - set(kept)))
    return _samples(images, points, kept, target)


def _points_of(target: Target, rows: pd.DataFrame, grid: Grid) -> NDArray[np.float32]:
    """(P, 3) grid places of a study's landmarks, NaN for the missing ones."""
    found = np.full((len(target.points), 3), np.nan, np.float32)
    for place, cell in enumerate(target.points):
        match = rows[rows["side"] == cell.side]
        if cell.level:
            match = match[match["level"] == cell.level]
        if len(match):
            mm = match[["x_mm", "y_mm", "z_mm"]].to_numpy(float)[:1]
            found[place] = to_pixels(grid.to_mm, mm)[0]
    if target.plane == "axial":
        # The slice is given, not looked for: a point of a neighbour is taken as projected.
        found[:, 2] = np.where(np.isnan(found[:, 2]), np.nan, grid.array.shape[0] // 2)
    return found


def _samples(
    images: list[NDArray[np.uint8]],
    points: list[NDArray[np.float32]],
    studies: list[str],
    target: Target,
) -> Samples:
    if not images:
        empty = np.zeros((0, len(target.points), 3), np.float32)
        return Samples(np.zeros((0, 1, 1, 1), np.uint8), empty, empty[..., 0] > 0, ())
    placed = np.stack(points)
    known = ~np.isnan(placed).any(axis=2)
    return Samples(np.stack(images), np.nan_to_num(placed), known, tuple(studies))


def _tell_left_out(target: Target, studies: list[str]) -> None:
    if studies:
        _LOGGER.warning(
            "%d studies without a %s %s stack that bears %s landmarks take no part in training: %s",
            len(studies),
            target.plane,
            target.weighting.upper(),
            target.name,
            ", ".join(studies),
        )


def training_samples(
    settings: Settings,
    stacks: Iterable[Stack],
    landmarks: pd.DataFrame,
    studies: Iterable[str],
) -> Samples:
    """The samples of a localiser from the given studies."""
    target = settings.target
    by_study = stacks_by_study(stacks, target)
    if target.plane == "axial":
        margin = settings.block["augment"]["margin_px"]
        return axial_samples(target, by_study, landmarks, studies, settings.grid, margin)
    return sagittal_samples(target, by_study, landmarks, studies, settings.grid)
