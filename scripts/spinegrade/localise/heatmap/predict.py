"""The points that localisers of heatmaps find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from torch import Tensor, nn

from spinegrade.localise.heatmap.axial import find_axial
from spinegrade.localise.heatmap.detector import Detector, build_network
from spinegrade.localise.heatmap.inference import find_sagittal
from spinegrade.localise.heatmap.settings import Settings
from spinegrade.tables.files import read_tables
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.training.fold_models import FoldModels
from spinegrade.training.jobs import Found, PredictJob
from spinegrade.training.record import FoldModel, Record
from spinegrade.volumes import Stack, load_stacks

__all__ = ["Settings", "network_of", "open_inputs", "predict"]


class Opened(NamedTuple):
    """``stacks`` of the shard, and the keypoints of other localisers that give it ``levels``."""

    stacks: list[Stack]
    levels: pd.DataFrame | None


def open_inputs(settings: Settings, job: PredictJob) -> Opened:
    """The tables of a job."""
    levels = list(job.inputs["levels"])
    return Opened(
        load_stacks(job.inputs["stacks"]), read_tables(levels, KEYPOINTS) if levels else None
    )


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
