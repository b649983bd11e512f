"""Axial points by geometry alone: sagittal points moved to the lateral recesses and projected.

A level's place in an axial series is where its sagittal point lies in patient coordinates. From
there the recesses lie, on average, at a fixed step to the left and to the right, measured
on the landmarks of training studies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import to_pixels
from spinegrade.geometry.planes import nearest_stack
from spinegrade.keypoint_rows import no_series, point_rows, rejection
from spinegrade.learner_settings import refuse_unknown
from spinegrade.localise.coordinates.samples import stacks_by_study
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_LEVELS, SPINAL, SUBARTICULAR, TARGETS
from spinegrade.regions.region import Cell
from spinegrade.training.fold_models import Cohort, FoldModels
from spinegrade.training.jobs import Found
from spinegrade.volumes import Stack

_MM = ["x_mm", "y_mm", "z_mm"]
_SIDES = ("left", "right")
# Of the conditions that tell where a level is the first that has points does.
CONDITIONS = (SPINAL, FORAMINAL)

Steps = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
"""By condition, side and level the step (LPS mm) from its point to the recess."""


@dataclass(frozen=True)
class Offsets:
    """Steps to the recesses, and the studies whose landmarks they are the mean of."""

    steps: Steps
    fold: int
    trained_on: tuple[str, ...]
    path: str

    @property
    def refused(self) -> set[str]:
        """The studies that they may not be used for."""
        return set(self.trained_on)


def fit_steps(landmarks: pd.DataFrame, studies: Iterable[str]) -> tuple[Steps, list[str]]:
    """Mean steps over ``studies``, and those that have a part in them, sorted.

    ``landmarks``: table "located_landmarks". From the canal's point, or from the foramen of the
    same side; a level that no study shows takes the mean of the others, and a condition without
    any is left out.
    """
    chosen = landmarks[landmarks["study"].isin(set(studies))]
    recesses = _placed(chosen, SUBARTICULAR)
    steps: dict[str, dict[str, dict[str, list[float]]]] = {}
    seen: set[str] = set()
    for condition in CONDITIONS:
        given = _placed(chosen, condition)
        by_side = {}
        for side in _SIDES:
            from_side = "central" if condition == SPINAL else side
            if side not in recesses or from_side not in given:
                continue
            apart = (recesses[side] - given[from_side]).dropna()
            if apart.empty:
                continue
            seen |= set(apart.index.get_level_values("study"))
            means = apart.groupby("level").mean()
            usual = means.mean()
            by_side[side] = {
                level: (means.loc[level] if level in means.index else usual).tolist()
                for level in LUMBAR_LEVELS
            }
        if len(by_side) == len(_SIDES):
            steps[condition] = by_side
    return steps, sorted(seen)


def _placed(points: pd.DataFrame, condition: str) -> dict[str, pd.DataFrame]:
    """By side LPS mm of a condition's points, by study and level."""
    rows = points[points["condition"] == condition]
    return {
        side: of_side.groupby(["study", "level"])[_MM].mean()
        for side, of_side in rows.groupby("side")
    }


def mean_steps(offsets: Sequence[Offsets]) -> Steps:
    """The mean over several folds' steps, of the conditions that all have."""
    return {
        condition: {
            side: {
                level: np.mean([one.steps[condition][side][level] for one in offsets], axis=0)
                for level in LUMBAR_LEVELS
            }
            for side in _SIDES
        }
        for condition in CONDITIONS
        if all(condition in one.steps for one in offsets)
    }


def recesses_of(points: pd.DataFrame, steps: Steps) -> dict[str, tuple[NDArray[np.float64], float]]:
    """By level the recesses' places (2, 3), left and right, LPS mm, and their confidence.

    ``points``: one study's keypoints. Of several points of a cell the surest, then first, counts.
    """
    found = {}
    for level in LUMBAR_LEVELS:
        for condition in CONDITIONS:
            rows = points[(points["level"] == level) & (points["condition"] == condition)]
            sides = ("central", "central") if condition == SPINAL else _SIDES
            best = [_surest(rows, side) for side in sides]
            if condition in steps and all(row is not None for row in best):
                moved = [
                    row[_MM].to_numpy(float) + np.asarray(steps[condition][side][level])
                    for row, side in zip(best, _SIDES, strict=True)
                ]
                confidence = min(float(row["confidence"]) for row in best)
                found[level] = np.array(moved), confidence
                break
    return found


def _surest(rows: pd.DataFrame, side: str) -> pd.Series | None:
    of_side = rows[rows["side"] == side]
    return None if of_side.empty else of_side.loc[of_side["confidence"].idxmax()]


def project(
    name: str,
    offsets: Sequence[Offsets],
    cohort: Cohort,
    stacks: Iterable[Stack],
    sagittal: pd.DataFrame,
    max_distance_mm: float,
) -> Found:
    """Left and right points of every level of every study of ``cohort`` on its axial stacks.

    ``sagittal``: keypoints of theirs, found out of fold. Both sides lie in the stack one of whose
    slices passes nearest to their middle. Listed:
    KEYPOINTS_NO_SERIES, KEYPOINTS_NO_LEVELS (no sagittal points), KEYPOINTS_LEVEL_UNSEEN (no slice
    shows the level's place or passes within ``max_distance_mm``). Raises SpinegradeError where
    steps were measured on a study that they would be used for, or points are not out of fold.
    """
    of_folds = FoldModels(name, offsets, cohort)
    refuse_points_within(sagittal, cohort)
    target = TARGETS["subarticular"]
    by_study = stacks_by_study(stacks, target)
    of_study = dict(list(sagittal.groupby("study")))
    found = Found([], [])
    for study in cohort.studies:
        rivals = by_study.get(study, [])
        if not rivals:
            found.rejected.append(no_series(study, target))
            continue
        own, source = of_folds.of(study)
        places = recesses_of(of_study.get(study, sagittal.iloc[:0]), mean_steps(own))
        if not places:
            found.rejected.append(_no_levels(study))
        for level, (place, confidence) in places.items():
            middle = place.mean(axis=0)
            nearest = nearest_stack(rivals, middle, max_distance_mm=max_distance_mm)
            if nearest is None:
                found.rejected.append(_unseen(study, level, middle))
                continue
            stack = rivals[nearest.stack]
            cells = [Cell(SUBARTICULAR, level, side) for side in _SIDES]
            pixels, sure = to_pixels(stack.affine, place), np.full(2, confidence)
            found.keypoints.extend(point_rows(stack, np.eye(4), pixels, sure, cells, source))
    return found


def refuse_points_within(points: pd.DataFrame, cohort: Cohort) -> None:
    """Refuse points of a training study that its own fold's model did not find, by their source."""
    training = set(cohort.studies) - cohort.new
    sources = points.drop_duplicates(["study", "source"])
    for study, source in sources[["study", "source"]].itertuples(index=False):
        if study in training and not source.endswith(f":fold_{cohort.fold_of(study)}"):
            raise SpinegradeError(
                f"study {study}: its points come from {source}, but it is of fold "
                f"{cohort.fold_of(study)}: the folds changed since; find the points again"
            )


def _no_levels(study: str) -> dict[str, Any]:
    return rejection(
        study,
        "KEYPOINTS_NO_LEVELS",
        "no sagittal points to project",
        "no axial slice can be given a level and subarticular cells fall back to the prior; "
        "deliver a sagittal series",
    )


def _unseen(study: str, level: str, place: NDArray[np.float64]) -> dict[str, Any]:
    where = ", ".join(f"{value:.1f}" for value in place)
    return rejection(
        study,
        "KEYPOINTS_LEVEL_UNSEEN",
        f"no axial slice shows {level} at ({where}) mm or passes near it",
        "its subarticular cells fall back to the prior; check the frame of reference and the "
        "coverage of the axial series",
    )


def check_projections(
    blocks: Mapping[str, Mapping[str, Any]],
    found_by: Mapping[str, Sequence[str]],
    taken: Collection[str] = (),
) -> None:
    """Refuse projections whose names are ``taken``, or of others without sagittal points.

    ``found_by``: the conditions whose points each learner finds. Raises SpinegradeError with the
    key's path, the value and what is allowed.
    """
    allowed = [name for name, found in found_by.items() if {"canal", "foraminal"} & set(found)]
    for name, block in blocks.items():
        where = f"projections.{name}"
        if name in taken:
            raise SpinegradeError(
                f"{where}: the name is taken by a learner; give it another, since points lie in "
                "folders of these names",
                code="LEARNER_NAME_TAKEN",
                key=where,
            )
        for other in block["points_of"]:
            refuse_unknown(f"{where}.points_of", other, allowed, "finds canal or foraminal points")
