"""What a job of localisers that predict a heatmap for each point reads."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from spinegrade.localise.heatmap.settings import Settings
from spinegrade.tables.files import read_tables
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.training.jobs import PredictJob, TrainJob
from spinegrade.volumes import Stack, load_stacks

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
