"""What graders of whole series predict: grades and points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor, nn

from spinegrade.grade.volumes.answers import Answer, look, mean_answer
from spinegrade.grade.volumes.prepared import prepared_volumes
from spinegrade.grade.volumes.reading import read_packed
from spinegrade.grade.volumes.samples import new_samples, stacks_by_study
from spinegrade.grade.volumes.settings import Settings
from spinegrade.grade.volumes.store import Volumes
from spinegrade.keypoint_rows import keypoint_table, no_series, point_rows, rejected_table
from spinegrade.models.registry import build
from spinegrade.runtime.progress import progress
from spinegrade.tables.files import check_table, empty_table
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.tables.rejected import REJECTED
from spinegrade.training.fold_models import Cohort, FoldModels
from spinegrade.training.jobs import Answers, PredictJob
from spinegrade.training.precision import dtype_of
from spinegrade.training.record import FoldModel, Record
from spinegrade.training.task import Moment
from spinegrade.volumes import Stack, load_stacks

__all__ = ["Settings", "network_of", "open_inputs", "predict"]


class Opened(NamedTuple):
    """``stacks`` and their canvases (None: made when needed)."""

    stacks: list[Stack]
    volumes: Volumes | None


def open_inputs(settings: Settings, job: PredictJob) -> Opened:
    """The tables of a job, and its canvases, mapped."""
    stacks = job.inputs["stacks"]
    return Opened(load_stacks(stacks), prepared_volumes(stacks, job.inputs["volumes"], settings))


def network_of(
    settings: Settings, opened: Opened, record: Record, weights: Mapping[str, Tensor]
) -> nn.Module:
    """The network that weights are of; whatever it was trained from is in them."""
    return build(settings.model_name, **settings.network_options(pretrained=False))


def predict(
    settings: Settings, opened: Opened, models: FoldModels[FoldModel], studies: Sequence[str]
) -> Answers:
    """Grades and points of ``studies``.

    Grades are the mean over all of a study's stacks of the target's kind, points those of the
    stack where the network is surest. A study without such a stack is rejected. The tables are
    keypoints, plain and plain_keypoints (seen once, empty where both are one), rejected.
    """
    usable = stacks_by_study(opened.stacks, settings.points)
    rejected = rejected_table(
        [no_series(study, settings.points) for study in studies if study not in usable]
    )
    present = [study for study in studies if study in usable]
    final, plain = _Rows(settings, models.cohort), _Rows(settings, models.cohort)
    if present:
        samples = new_samples(
            *(settings.target, opened.stacks, present),
            canvas=settings.canvas_px,
            every_stack=True,
            volumes=opened.volumes,
            network=settings.name,
        )
        by_key = {(s.study, s.series, s.stack): s for s in opened.stacks}
        places = groupby(range(len(samples)), lambda place: samples.studies[place])
        for study, rows in progress(places, f"Predicting with {settings.name}", len(present)):
            chosen, source = models.of(study)
            found = []
            for place in rows:
                packed = read_packed(samples, np.array([place]))
                looks = [_look(model, packed.slices, packed.lengths, settings) for model in chosen]
                stack = by_key[study, samples.series[place], samples.stacks[place]]
                found.append((stack, samples.to_pixels[place], looks))
            final.add(
                [(s, a, mean_answer([n.final for n in seen])) for s, a, seen in found], source
            )
            if settings.is_mirrored:
                means = [(s, a, mean_answer([n.plain for n in seen])) for s, a, seen in found]
                plain.add(means, source)
    predictions, keypoints = final.tables()
    once, once_keypoints = plain.tables()
    return Answers(
        predictions,
        {
            "keypoints": (keypoints, KEYPOINTS),
            "plain": (once[once["fold"].notna()], PREDICTIONS),
            "plain_keypoints": (once_keypoints, KEYPOINTS),
            "rejected": (rejected, REJECTED),
        },
    )


def _look(model: FoldModel, slices: Tensor, lengths: list[int], settings: Settings) -> Any:
    at = Moment(model.device, dtype_of(settings.plan(model.fold), model.device))
    return look(model.network, slices, lengths, settings, at, settings.is_mirrored)


class _Rows:
    """Rows of predictions and keypoints tables, study by study."""

    def __init__(self, settings: Settings, cohort: Cohort) -> None:
        self.settings, self.cohort = settings, cohort
        self.predictions: list[dict[str, Any]] = []
        self.keypoints: list[dict[str, Any]] = []

    def add(self, answers: list[tuple[Stack, np.ndarray, Answer]], source: str) -> None:
        """The answers for all stacks of one study; each holds one volume."""
        cells = self.settings.points.points
        grades = np.mean([answer.grades[0] for _, _, answer in answers], axis=0)
        study = answers[0][0].study
        for cell, values in zip(cells, grades / grades.sum(axis=1, keepdims=True), strict=True):
            self.predictions.append(
                {"study": study, **cell._asdict()}
                | dict(zip(PROBABILITY_COLUMNS, values.tolist(), strict=True))
                | {"classifier": self.settings.name, "fold": self.cohort.fold_of(study)}
            )
        stack, to_pixels, surest = max(answers, key=lambda one: one[2].confidence.mean())
        self.keypoints += point_rows(
            stack, to_pixels, surest.points[0], surest.confidence[0], cells, source
        )

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Predictions and keypoints as checked tables."""
        predictions = empty_table(PREDICTIONS)
        if self.predictions:
            predictions = check_table(pd.DataFrame(self.predictions), PREDICTIONS)
        return predictions, keypoint_table(self.keypoints)
