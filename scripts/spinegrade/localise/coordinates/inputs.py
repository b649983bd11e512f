"""What a job of localisers that predict points as coordinates reads."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from spinegrade.localise.coordinates.settings import (
    Settings,
    settings_from_config,
)
from spinegrade.tables.files import read_tables
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.training.jobs import PredictJob, TrainJob
from spinegrade.volumes import Stack, load_stacks

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
