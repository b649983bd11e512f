"""What graders of whole series learn from: their points and grades at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from spinegrade.grade.volumes.prepared import prepared_volumes
from spinegrade.grade.volumes.samples import training_samples
from spinegrade.grade.volumes.settings import Settings
from spinegrade.grade.volumes.store import Volumes
from spinegrade.grade.volumes.task import VolumeTask
from spinegrade.tables.files import read_table, read_tables
from spinegrade.tables.labels import LABELS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.training.jobs import TrainJob
from spinegrade.volumes import Stack, load_stacks

__all__ = ["STREAMS", "Settings", "open_inputs", "task"]

STREAMS = "one_stage"


class Opened(NamedTuple):
    """``stacks`` and their canvases (None: made when needed); landmarks and labels.

    ``fold``: the one that is held out, for messages.
    """

    stacks: list[Stack]
    volumes: Volumes | None
    landmarks: pd.DataFrame
    labels: pd.DataFrame
    fold: int


def open_inputs(settings: Settings, job: TrainJob) -> Opened:
    """The tables of a job, and its canvases, mapped."""
    stacks = job.inputs["stacks"]
    return Opened(
        load_stacks(stacks),
        prepared_volumes(stacks, job.inputs["volumes"], settings),
        read_tables(list(job.inputs["landmarks"]), LOCATED_LANDMARKS),
        read_table(job.inputs["labels"][0], LABELS),
        job.fold,
    )


def task(settings: Settings, opened: Opened, studies: Sequence[str]) -> VolumeTask:
    """The series of ``studies``."""
    samples = training_samples(
        *(settings.target, opened.stacks, opened.landmarks, opened.labels, studies),
        canvas=settings.canvas_px,
        fold=opened.fold,
        partial_studies=settings.partial_studies,
        volumes=opened.volumes,
        network=settings.name,
    )
    return VolumeTask(samples, settings)
