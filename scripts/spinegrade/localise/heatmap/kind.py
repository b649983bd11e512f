"""Localisers that predict a heatmap a point, of whole sagittal stacks or around axial levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from torch import Tensor, nn

from spinegrade.localise.heatmap.axial import find_axial
from spinegrade.localise.heatmap.detector import Detector, build_network
from spinegrade.localise.heatmap.inference import find_sagittal
from spinegrade.localise.heatmap.offsets import fit_offsets
from spinegrade.localise.heatmap.samples import training_samples
from spinegrade.localise.heatmap.settings import Settings, plan_of
from spinegrade.localise.heatmap.task import HeatmapTask
from spinegrade.tables.files import read_tables
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.training.fold_models import FoldModels
from spinegrade.training.jobs import Found, PredictJob, TrainJob
from spinegrade.training.record import FoldModel, Record
from spinegrade.volumes import Stack, load_stacks

__all__ = ["STREAMS", "network_of", "open_inputs", "plan_of", "predict", "settings_of", "task"]

STREAMS = "heatmap"
settings_of = Settings


class Opened(NamedTuple):
    """``stacks`` of the job's shards; ``landmarks`` to learn from, table "located_landmarks".

    ``levels``: keypoints of other localisers that tell an axial one where the levels lie, or
    guide a sagittal one.
    """

    stacks: list[Stack]
    landmarks: pd.DataFrame | None
    levels: pd.DataFrame | None


def open_inputs(settings: Settings, job: TrainJob | PredictJob) -> Opened:
    """The tables of a job."""
    landmarks, levels = job.inputs.get("landmarks"), job.inputs.get("levels")
    return Opened(
        load_stacks(job.inputs["stacks"]),
        read_tables(list(landmarks), LOCATED_LANDMARKS) if landmarks else None,
        read_tables(list(levels), KEYPOINTS) if levels else None,
    )


def task(settings: Settings, opened: Opened, studies: Sequence[str]) -> HeatmapTask:
    """The samples of ``studies``."""
    samples = training_samples(settings.block, opened.stacks, opened.landmarks, studies)
    return HeatmapTask(samples, settings, fit_offsets(opened.landmarks, studies))


def network_of(
    settings: Settings, opened: Any, record: Record, weights: Mapping[str, Tensor]
) -> nn.Module:
    """The network that a record is of."""
    return build_network(Settings(record.name, record.settings))


def predict(
    settings: Settings, opened: Opened, models: FoldModels[FoldModel], studies: Sequence[str]
) -> Found:
    """The points of ``studies``."""
    # The grid is that of the training, whatever a later configuration says.
    detectors = FoldModels(
        models.name,
        [Detector.of(one, Settings(one.record.name, one.record.settings)) for one in models.models],
        models.cohort,
    )
    if settings.target.plane == "axial":
        distance_mm = settings.block["max_distance_mm"]
        return find_axial(detectors, studies, opened.stacks, opened.levels, distance_mm)
    return find_sagittal(detectors, studies, opened.stacks, opened.levels)
