"""What graders of crops read: the stores of a job, opened and brought to rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from spinegrade.crop_shape import CropShape
from spinegrade.grade.views.crop_store import CropStore, open_all_crops
from spinegrade.grade.views.samples import Samples, recess_samples, view_samples
from spinegrade.grade.views.settings import Settings
from spinegrade.tables.files import read_table
from spinegrade.tables.labels import LABELS
from spinegrade.training.jobs import PredictJob, TrainJob


class Opened(NamedTuple):
    """``stores`` of crops by what they show, and the ``shapes`` of all sets that are read.

    ``slices`` and ``sequences``: arrays and tables of a sequence set's shards. ``labels`` to
    learn from, None to predict.
    """

    stores: Mapping[str, CropStore]
    shapes: Mapping[str, CropShape]
    slices: Sequence[str]
    sequences: Sequence[str]
    labels: pd.DataFrame | None


def open_inputs(settings: Any, job: TrainJob | PredictJob) -> Opened:
    """The stores and tables of a job; raises SpinegradeError for stores of other shapes."""
    shapes = {name: CropShape(**shape) for name, shape in job.given["shapes"].items()}
    arrays, tables, slices, sequences, labels = (
        list(job.inputs.get(name, ()))
        for name in ("arrays", "tables", "slices", "sequences", "labels")
    )
    stores = open_all_crops(settings.crops, shapes, arrays, tables)
    known = read_table(labels[0], LABELS) if labels else None
    return Opened(stores, shapes, slices, sequences, known)


def samples_of(settings: Settings, opened: Opened, studies: Iterable[str]) -> Samples:
    """The rows of ``studies``."""
    made = recess_samples if settings.is_axial else view_samples
    return made(settings, opened.stores, studies, opened.labels)
