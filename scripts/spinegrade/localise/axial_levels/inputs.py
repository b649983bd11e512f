"""What a job of localisers that predict which level each axial slice shows reads."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from spinegrade.localise.coordinates.settings import (
    Settings,
    settings_from_config,
)
from spinegrade.training.jobs import PredictJob, TrainJob
from spinegrade.volumes import Stack

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
    read = coordinates.open_inputs(settings, job)
    placing = list(job.inputs.get("xy_weights") or ())
    return Opened(read.stacks, read.landmarks, job.given.get("xy_from"), placing)
