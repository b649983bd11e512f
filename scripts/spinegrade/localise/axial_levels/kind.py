"""Localisers that predict which level each axial slice shows; another finds the places in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
from torch import Tensor, nn

from spinegrade.keypoint_rows import no_series
from spinegrade.localise.axial_levels.find import find_levels
from spinegrade.localise.axial_levels.levels import training_sequences
from spinegrade.localise.axial_levels.task import LevelTask, build_network
from spinegrade.localise.coordinates import kind as coordinates
from spinegrade.localise.coordinates.plan import plan_of
from spinegrade.localise.coordinates.samples import stacks_by_study
from spinegrade.localise.coordinates.settings import (
    Settings,
    settings_from_config,
    settings_from_plain,
)
from spinegrade.runtime.progress import progress
from spinegrade.tables.files import read_tables
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.training.fold_models import FoldModels
from spinegrade.training.jobs import Found, PredictJob, TrainJob
from spinegrade.training.record import FoldModel, Record, load_model
from spinegrade.volumes import Stack, load_stacks

__all__ = ["STREAMS", "network_of", "open_inputs", "plan_of", "predict", "settings_of", "task"]

STREAMS = "regressor"
settings_of = settings_from_config


class Opened(NamedTuple):
    """``stacks`` of the job's shards; ``landmarks`` to learn from, table "located_landmarks".

    ``placing``: weights of the localiser ``xy_from``, which finds places in slices.
    """

    stacks: list[Stack]
    landmarks: pd.DataFrame | None
    xy_from: str | None
    placing: list[str]


def open_inputs(settings: Settings, job: TrainJob | PredictJob) -> Opened:
    """The tables of a job."""
    paths = job.inputs.get("landmarks")
    landmarks = read_tables(list(paths), LOCATED_LANDMARKS) if paths else None
    stacks, placing = load_stacks(job.inputs["stacks"]), list(job.inputs.get("xy_weights") or ())
    return Opened(stacks, landmarks, job.given.get("xy_from"), placing)


def task(settings: Settings, opened: Opened, studies: Sequence[str]) -> LevelTask:
    """The samples of ``studies``."""
    sequences = training_sequences(settings, opened.stacks, opened.landmarks, studies)
    return LevelTask(sequences, settings)


def network_of(
    settings: Settings, opened: Any, record: Record, weights: Mapping[str, Tensor]
) -> nn.Module:
    """The network that a record is of."""
    return build_network(settings_from_plain(record.settings), None)


def predict(
    settings: Settings, opened: Opened, models: FoldModels[FoldModel], studies: Sequence[str]
) -> Found:
    """The points of ``studies``; raises SpinegradeError where one of both has seen a study."""
    device = models.models[0].device
    expected = {"name": opened.xy_from, "room": "localise", "kind": "coordinates"}
    made = partial(coordinates.network_of, None, None)
    placing = FoldModels(
        str(opened.xy_from),
        [load_model(path, expected, made, device) for path in opened.placing],
        models.cohort,
    )
    target = settings.channels[0]
    by_study = stacks_by_study(opened.stacks, target)
    found = Found([], [])
    for study in progress(studies, f"Finding {models.name} points"):
        if study not in by_study:
            found.rejected.append(no_series(study, target))
            continue
        chosen, source = models.of(study)
        found.keypoints.extend(find_levels(chosen, placing.of(study)[0], by_study[study], source))
    return found
