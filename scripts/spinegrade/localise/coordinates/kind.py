"""Localisers that predict points as coordinates, of single slices or whole stacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from torch import Tensor, nn

from spinegrade.localise.coordinates.find import find_points
from spinegrade.localise.coordinates.network import build_network
from spinegrade.localise.coordinates.plan import plan_of
from spinegrade.localise.coordinates.samples import training_samples
from spinegrade.localise.coordinates.settings import (
    Settings,
    settings_from_config,
    settings_from_plain,
)
from spinegrade.localise.coordinates.task import PointTask
from spinegrade.tables.files import read_tables
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.training.fold_models import FoldModels
from spinegrade.training.jobs import Found, PredictJob, TrainJob
from spinegrade.training.record import FoldModel, Record
from spinegrade.volumes import Stack, load_stacks

__all__ = ["STREAMS", "network_of", "open_inputs", "plan_of", "predict", "settings_of", "task"]

STREAMS = "regressor"
settings_of = settings_from_config


class Opened(NamedTuple):
    """``stacks`` of the job's shards; ``landmarks`` to learn from, table "located_landmarks".

    ``entries``: see ``find_points``.
    """

    stacks: list[Stack]
    landmarks: pd.DataFrame | None
    entries: str


def open_inputs(settings: Settings, job: TrainJob | PredictJob) -> Opened:
    """The tables of a job."""
    paths = job.inputs.get("landmarks")
    landmarks = read_tables(list(paths), LOCATED_LANDMARKS) if paths else None
    return Opened(load_stacks(job.inputs["stacks"]), landmarks, job.block.get("entries", "fixed"))


def task(settings: Settings, opened: Opened, studies: Sequence[str]) -> PointTask:
    """The samples of ``studies``."""
    return PointTask(training_samples(settings, opened.stacks, opened.landmarks, studies), settings)


def network_of(
    settings: Settings, opened: Any, record: Record, weights: Mapping[str, Tensor]
) -> nn.Module:
    """The network that a record is of."""
    return build_network(settings_from_plain(record.settings), None)


def predict(
    settings: Settings, opened: Opened, models: FoldModels[FoldModel], studies: Sequence[str]
) -> Found:
    """The points of ``studies``."""
    return find_points(models, opened.stacks, studies, opened.entries)
