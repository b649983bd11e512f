"""What a job of graders of whole series, which find points and grade them at once reads."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from spinegrade.grade.volumes.prepared import prepared_volumes
from spinegrade.grade.volumes.settings import Settings, settings_from_config
from spinegrade.grade.volumes.store import Volumes
from spinegrade.tables.files import read_table, read_tables
from spinegrade.tables.labels import LABELS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.training.jobs import PredictJob, TrainJob
from spinegrade.volumes import Stack, load_stacks

settings_of = settings_from_config


class Opened(NamedTuple):
    """``stacks`` and their canvases (None: made when needed); landmarks and labels to learn from.

    ``fold``: the one that is held out from a training, for messages.
    """

    stacks: list[Stack]
    volumes: Volumes | None
    landmarks: pd.DataFrame | None
    labels: pd.DataFrame | None
    fold: int | None


def open_inputs(settings: Settings, job: TrainJob | PredictJob) -> Opened:
    """The tables of a job, and its canvases, mapped."""
    stacks, landmarks, labels = (job.inputs.get(n) for n in ("stacks", "landmarks", "labels"))
    return Opened(
        load_stacks(stacks),
        prepared_volumes(stacks, job.inputs["volumes"], settings),
        read_tables(list(landmarks), LOCATED_LANDMARKS) if landmarks else None,
        read_table(labels[0], LABELS) if labels else None,
        getattr(job, "fold", None),
    )
