"""What a job of graders of crops around points, by study or by level reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from spinegrade.grade.views.settings import (
    CropShape,
    Settings,
    crop_shape,
    settings_from_config,
)
from spinegrade.grade.views.stores import StorePaths
from spinegrade.tables.files import read_table
from spinegrade.tables.labels import LABELS
from spinegrade.training.jobs import PredictJob, TrainJob

settings_of = settings_from_config


class Opened(NamedTuple):
    """Where crops and sequences lie, their shapes, and the labels to learn from."""

    paths: StorePaths
    shapes: Mapping[str, CropShape]
    labels: pd.DataFrame | None


def open_inputs(settings: Settings, job: TrainJob | PredictJob) -> Opened:
    """The stores and tables of a job."""
    names = ("arrays", "tables", "slices", "sequences")
    labels = job.inputs.get("labels")
    return Opened(
        StorePaths(*(list(job.inputs[name]) for name in names)),
        {name: crop_shape(**shape) for name, shape in job.given["shapes"].items()},
        read_table(labels[0], LABELS) if labels else None,
    )
