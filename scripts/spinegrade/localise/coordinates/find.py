"""Keypoints of a shard by regressors: each study by the fold models that never saw it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinegrade.keypoint_rows import no_series, point_rows
from spinegrade.localise.coordinates.frames import Frame
from spinegrade.localise.coordinates.network import settings_of_model
from spinegrade.localise.coordinates.regress import regress
from spinegrade.localise.coordinates.samples import (
    slice_look,
    stacks_by_study,
    whole_look,
)
from spinegrade.regions.region import Cell
from spinegrade.runtime.progress import progress
from spinegrade.sampled_slices import half_of_entries, sampled_indices
from spinegrade.training.fold_models import FoldModels
from spinegrade.training.jobs import Found
from spinegrade.training.record import FoldModel
from spinegrade.volumes import Stack

CONFIDENCE = 1.0
"""Of every regressed point: a coordinate says nothing of how sure it is."""
# Of so many entries, half are the published crops of a side.
_OF = 10


def find_points(
    models: FoldModels[FoldModel],
    stacks: Iterable[Stack],
    studies: Sequence[str],
    entries: str = "fixed",
) -> Found:
    """Keypoints of every study of ``studies``.

    ``entries``: which slice single sagittal ones look at, see ``half_of_entries``. Points outside
    their stack are moved to its edge. Studies without one of the series are listed with the code
    KEYPOINTS_NO_SERIES.
    """
    settings = settings_of_model(models.models[0])
    stacks = list(stacks)
    channels = [stacks_by_study(stacks, target) for target in settings.channels]
    finder = _FINDERS[settings.view]
    if settings.view == "sagittal_slice":
        finder = partial(finder, entries=entries)
    found = Found([], [])
    for study in progress(studies, f"Finding {models.name} points"):
        rivals = [channel.get(study, []) for channel in channels]
        for target, given in zip(settings.channels, rivals, strict=True):
            if not given:
                found.rejected.append(no_series(study, target))
        if any(rivals):
            chosen, source = models.of(study)
            found.keypoints.extend(finder(chosen, rivals, source))
    return found


def _sagittal_volumes(
    models: Sequence[FoldModel], rivals: list[list[Stack]], source: str
) -> list[dict[str, Any]]:
    """Points of the series that are there, each channel's stack with most slices, then first."""
    settings = settings_of_model(models[0])
    stacks = tuple(max(g, key=lambda stack: stack.slices) if g else None for g in rivals)
    look = whole_look(settings, stacks)
    points = regress(models, [look])[0]
    rows = []
    for channel, frame in enumerate(look.frames):
        own = np.array(settings.channel_of_point) == channel
        cells = [cell for cell, mine in zip(settings.cells, own, strict=True) if mine]
        if frame is not None:
            rows += rows_in(frame, points[own], cells, source)
    return rows


def rows_in(
    frame: Frame, points: NDArray[np.float64], cells: Sequence[Cell], source: str
) -> list[dict[str, Any]]:
    """Keypoint rows of ``points`` (P, 3): px of the frame, slice as a share of the stack's."""
    places = points.copy()
    places[:, :2] = places[:, :2].clip(-0.5, frame.frame_px - 0.5)
    places[:, 2] = (places[:, 2] * frame.stack.slices).clip(0, frame.stack.slices - 1)
    confidences = np.full(len(places), CONFIDENCE)
    return point_rows(frame.stack, frame.to_stack, places, confidences, cells, source)


def _sagittal_slices(
    models: Sequence[FoldModel],
    rivals: list[list[Stack]],
    source: str,
    entries: str = "fixed",
) -> list[dict[str, Any]]:
    """x and y of the levels on the middle slice; the slices of the sides are not looked for.

    The stack with most slices, then first. Both sides have the same x and y, as published, and lie
    in the middle one of the five sampled slices that crops of that side show.
    """
    settings = settings_of_model(models[0])
    stack = max(rivals[0], key=lambda one: one.slices)
    sampled = sampled_indices(stack.slices, _OF)

    def middle(part: str) -> int:
        half = half_of_entries(part, _OF, entries)
        return int(sampled[half[len(half) // 2]])

    look = slice_look(settings, stack, middle("centre"))
    in_plane = regress(models, [look])[0]
    rows = []
    for side in dict.fromkeys(cell.side for cell in settings.targets[0].points):
        part = "centre" if side == "central" else side
        share = np.full((len(in_plane), 1), middle(part) / stack.slices)
        cells = [cell._replace(side=side) for cell in settings.cells]
        points = np.concatenate([in_plane, share], axis=1)
        rows += rows_in(look.frames[0], points, cells, source)
    return rows


def _axial_volumes(
    models: Sequence[FoldModel], rivals: list[list[Stack]], source: str
) -> list[dict[str, Any]]:
    """All ten points in every stack of the study, each told as if it were the only one."""
    settings = settings_of_model(models[0])
    rows = []
    for stack in rivals[0]:
        look = whole_look(settings, (stack,))
        rows += rows_in(look.frames[0], regress(models, [look])[0], settings.cells, source)
    return rows


_FINDERS: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "sagittal_slice": _sagittal_slices,
    "sagittal_stack": _sagittal_volumes,
    "axial_stack": _axial_volumes,
}
