"""What localisers of heatmaps learn from, of whole sagittal stacks or around axial levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from spinegrade.localise.heatmap.offsets import fit_offsets
from spinegrade.localise.heatmap.samples import training_samples
from spinegrade.localise.heatmap.settings import Settings
from spinegrade.localise.heatmap.task import HeatmapTask
from spinegrade.tables.files import read_tables
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.training.jobs import TrainJob
from spinegrade.volumes import Stack, load_stacks

__all__ = ["STREAMS", "Settings", "open_inputs", "task"]

STREAMS = "heatmap"


class Opened(NamedTuple):
    """``stacks`` of all shards; ``landmarks``, table "located_landmarks"."""

    stacks: list[Stack]
    landmarks: pd.DataFrame


def open_inputs(settings: Settings, job: TrainJob) -> Opened:
    """The tables of a job."""
    landmarks = read_tables(list(job.inputs["landmarks"]), LOCATED_LANDMARKS)
    return Opened(load_stacks(job.inputs["stacks"]), landmarks)


def task(settings: Settings, opened: Opened, studies: Sequence[str]) -> HeatmapTask:
    """The samples of ``studies``."""
    samples = training_samples(settings, opened.stacks, opened.landmarks, studies)
    return HeatmapTask(samples, settings, fit_offsets(opened.landmarks, studies))
