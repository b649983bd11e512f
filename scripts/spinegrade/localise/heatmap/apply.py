"""What localisers that predict a heatmap for each point predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from spinegrade.localise.heatmap.axial import find_axial
from spinegrade.localise.heatmap.detector import Detector
from spinegrade.localise.heatmap.inference import find_sagittal
from spinegrade.localise.heatmap.inputs import Opened, open_inputs, settings_of
from spinegrade.localise.heatmap.network import build_network
from spinegrade.localise.heatmap.settings import Settings
from spinegrade.training.fold_models import FoldModels
from spinegrade.training.jobs import Found
from spinegrade.training.record import FoldModel, Record

__all__ = ["network_of", "open_inputs", "predict", "settings_of"]


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
