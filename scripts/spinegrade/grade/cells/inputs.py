"""What a job of graders of single cells, whose crops add up to a grade reads."""

from __future__ import annotations

from typing import NamedTuple

from spinegrade.grade.cells.cells import Cells, files_of_sets, load_cells
from spinegrade.grade.cells.settings import CropShape, Settings, settings_from_config
from spinegrade.training.jobs import PredictJob, TrainJob

settings_of = settings_from_config


class Opened(NamedTuple):
    """``cells`` of all shards with their crops, and the ``shapes`` of these; ``seed`` of looks."""

    cells: Cells
    shapes: dict[str, CropShape]
    seed: int


def open_inputs(settings: Settings, job: TrainJob | PredictJob) -> Opened:
    """The crops of a job's roi sets, mapped."""
    shapes = {name: CropShape(**shape) for name, shape in job.given["shapes"].items()}
    files = files_of_sets(settings.roi_sets, job.inputs["arrays"], job.inputs["tables"])
    return Opened(load_cells(settings.views, shapes, files), shapes, job.run.seed)
