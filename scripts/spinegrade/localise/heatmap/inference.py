"""Keypoints of a shard: each study by the fold models that did not train on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.keypoint_rows import no_series, point_rows
from spinegrade.localise.heatmap.decode import decode
from spinegrade.localise.heatmap.detector import Detector
from spinegrade.localise.heatmap.grids import Grid
from spinegrade.localise.heatmap.levels import (
    LevelPlace,
    guide_weights,
    level_places,
)
from spinegrade.localise.heatmap.offsets import mean_offsets
from spinegrade.localise.heatmap.samples import grid_of, stacks_by_study
from spinegrade.localise.heatmap.steps import mean_steps
from spinegrade.regions.region import Target
from spinegrade.runtime.progress import progress
from spinegrade.training.fold_models import FoldModels
from spinegrade.training.jobs import Found
from spinegrade.volumes import Stack


def look(
    models: Sequence[Detector],
    images: NDArray[np.uint8],
    guide: Callable[[int, tuple[int, int]], NDArray[np.float64]] | None = None,
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Points (P, 3) of each image's grid and their confidences (P,), by the models' mean.

    Probabilities are averaged, not points, so that models which disagree lower the confidence.
    ``guide`` (place in ``images``, heatmap's shape) gives weights (P, rows, cols) that they are
    multiplied with.
    """
    answers = [model.probabilities(images) for model in models]
    in_plane = np.mean([answer[0] for answer in answers], axis=0)
    if guide is not None:
        in_plane = np.stack([m * guide(k, m.shape[1:]) for k, m in enumerate(in_plane)])
        in_plane /= in_plane.sum(axis=(2, 3), keepdims=True)
    along = [answer[1] for answer in answers if answer[1] is not None]
    slices = np.mean(along, axis=0) if along else None
    first = models[0]
    return [
        decode(
            heatmaps,
            None if slices is None else slices[place],
            chains=first.target.chains,
            steps=mean_steps([model.steps for model in models]),
            stride=first.network.stride,
            pixel_mm=first.settings.grid["pixel_mm"],
            slice_mm=first.settings.grid["slice_mm"],
        )
        for place, heatmaps in enumerate(in_plane)
    ]


def find_sagittal(
    detectors: FoldModels[Detector],
    studies: Sequence[str],
    stacks: Iterable[Stack],
    level_points: pd.DataFrame | None = None,
) -> Found:
    """Keypoints of every study of ``studies`` on sagittal stacks.

    Among several stacks of the right kind the one of the greatest mean confidence gives all
    points. With ``level_points``, keypoints of other sequences that are out of fold like these,
    places far from where those see a level count less. Studies without a stack are listed with
    the code KEYPOINTS_NO_SERIES.
    """
    name, target = detectors.name, detectors.models[0].target
    by_study = stacks_by_study(stacks, target)
    told = {} if level_points is None else dict(list(level_points.groupby("study")))
    found = Found([], [])
    for study in progress(studies, f"Finding {name} points"):
        rivals = by_study.get(study, [])
        if not rivals:
            found.rejected.append(no_series(study, target))
            continue
        models, source = detectors.of(study)
        grids: list[Grid] = [grid_of(stack, models[0].settings.grid) for stack in rivals]
        guide = None
        if study in told:
            offsets = mean_offsets([model.offsets for model in models])
            places = level_places(told[study], offsets)
            guide = _guide(places, target, grids, models[0].network.stride)
        answers = look(models, np.stack([grid.array for grid in grids]), guide)
        best = max(range(len(rivals)), key=lambda place: (answers[place][1].mean(), -place))
        points, confidences = answers[best]
        found.keypoints.extend(
            point_rows(
                rivals[best], grids[best].to_pixels, points, confidences, target.points, source
            )
        )
    return found


def _guide(
    places: Mapping[str, LevelPlace], target: Target, grids: Sequence[Grid], stride: int
) -> Callable[[int, tuple[int, int]], NDArray[np.float64]]:
    levels = [cell.level for cell in target.points]
    return lambda place, shape: guide_weights(places, levels, grids[place].to_mm, shape, stride)
