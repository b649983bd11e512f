"""Subarticular points: levels reach the axial slices through patient coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from spinegrade.geometry.planes import NearestStack, nearest_stack
from spinegrade.keypoint_rows import no_series, point_rows, rejection
from spinegrade.localise.heatmap.detector import Detector
from spinegrade.localise.heatmap.grids import Grid, axial_crop
from spinegrade.localise.heatmap.inference import look
from spinegrade.localise.heatmap.levels import LevelPlace, level_places
from spinegrade.localise.heatmap.offsets import mean_offsets
from spinegrade.localise.heatmap.samples import stacks_by_study
from spinegrade.regions.lumbar_mri import SPINAL
from spinegrade.runtime.progress import progress
from spinegrade.training.fold_models import FoldModels
from spinegrade.training.jobs import Found
from spinegrade.volumes import Stack

# Slices of different stacks at distances this close are a tie, which the confidence decides.
TIE_MM = 0.05


class Candidate(NamedTuple):
    """One slice in which a level's points are looked for."""

    level: str
    place: NearestStack


def candidates_of(
    stacks: Sequence[Stack], places: Mapping[str, LevelPlace], max_distance_mm: float
) -> tuple[list[Candidate], list[str]]:
    """For each level the slice that passes nearest to its place, with ties; and levels unseen.

    ``places`` by level. A level whose place no stack shows within ``max_distance_mm`` is unseen.
    """
    chosen, unseen = [], []
    for level, (point, _) in places.items():
        rivals = list(range(len(stacks)))
        limit, seen = max_distance_mm, False
        while rivals:
            best = nearest_stack([stacks[rival] for rival in rivals], point, max_distance_mm=limit)
            if best is None:
                break
            if not seen:
                limit, seen = best.distance_mm + TIE_MM, True
            chosen.append(Candidate(level, best._replace(stack=rivals[best.stack])))
            del rivals[best.stack]
        if not seen:
            unseen.append(level)
    return chosen, unseen


def find_axial(
    detectors: FoldModels[Detector],
    studies: Sequence[str],
    stacks: Iterable[Stack],
    level_points: pd.DataFrame,
    max_distance_mm: float,
) -> Found:
    """Left and right points of every level of every study on its axial stacks.

    ``level_points`` are keypoints of the same studies, out of fold like these. Listed, with the
    points that are found all the same or are not: KEYPOINTS_LEVELS_FROM_FORAMINA (no canal
    points, the middle of the foraminal ones serves), KEYPOINTS_NO_SERIES,
    KEYPOINTS_NO_LEVELS (neither), KEYPOINTS_LEVEL_UNSEEN (no slice shows the level's place or
    passes within ``max_distance_mm`` of it).
    """
    name, target = detectors.name, detectors.models[0].target
    by_study = stacks_by_study(stacks, target)
    of_study = dict(list(level_points.groupby("study")))
    found = Found([], [])
    for study in progress(studies, f"Finding {name} points"):
        rivals = by_study.get(study, [])
        if not rivals:
            found.rejected.append(no_series(study, target))
            continue
        models, source = detectors.of(study)
        offsets = mean_offsets([model.offsets for model in models])
        points = of_study.get(study, level_points.iloc[:0])
        levels = level_places(points, offsets)
        found.rejected.extend(_fallbacks(study, levels))
        chosen, unseen = candidates_of(rivals, levels, max_distance_mm)
        found.rejected.extend(_unseen(study, level, levels[level]) for level in unseen)
        if not chosen:
            continue
        grids = [_crop(rivals[c.place.stack], c.place, models[0].settings.grid) for c in chosen]
        answers = look(models, np.stack([grid.array for grid in grids]))
        for level in levels:
            tied = [place for place, candidate in enumerate(chosen) if candidate.level == level]
            if not tied:
                continue
            best = max(tied, key=lambda place: (answers[place][1].mean(), -place))
            points, confidences = answers[best]
            cells = [cell._replace(level=level) for cell in target.points]
            stack = rivals[chosen[best].place.stack]
            found.keypoints.extend(
                point_rows(stack, grids[best].to_pixels, points, confidences, cells, source)
            )
    return found


def _crop(stack: Stack, place: NearestStack, grid: Mapping[str, Any]) -> Grid:
    shape = (grid["slices"], grid["rows"], grid["cols"])
    return axial_crop(stack, place.index, (place.x_px, place.y_px), shape, grid["pixel_mm"])


def _fallbacks(study: str, levels: Mapping[str, LevelPlace]) -> list[dict[str, Any]]:
    if not levels:
        return [
            rejection(
                study,
                "KEYPOINTS_NO_LEVELS",
                "neither canal nor foraminal points",
                "no axial slice can be given a level and subarticular cells fall back to the "
                "prior; deliver a sagittal series",
            )
        ]
    without = [level for level, place in levels.items() if place.condition != SPINAL]
    if not without:
        return []
    return [
        rejection(
            study,
            "KEYPOINTS_LEVELS_FROM_FORAMINA",
            f"no canal points at {', '.join(without)}",
            "the axial slices are chosen by the middle of the foraminal points instead; deliver a "
            "sagittal T2 series",
        )
    ]


def _unseen(study: str, level: str, place: LevelPlace) -> dict[str, Any]:
    where = ", ".join(f"{value:.1f}" for value in place.point_mm)
    return rejection(
        study,
        "KEYPOINTS_LEVEL_UNSEEN",
        f"no axial slice shows {level} at ({where}) mm or passes near it",
        "its subarticular cells fall back to the prior; check the frame of reference and the "
        "coverage of the axial series",
    )
