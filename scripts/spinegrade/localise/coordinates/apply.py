"""What localisers that predict points as coordinates predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from spinegrade.localise.coordinates.find import find_points
from spinegrade.localise.coordinates.inputs import Opened, open_inputs, settings_of
from spinegrade.localise.coordinates.network import build_network
from spinegrade.localise.coordinates.settings import (
    Settings,
    settings_from_plain,
)
from spinegrade.training.fold_models import FoldModels
from spinegrade.training.jobs import Found
from spinegrade.training.record import FoldModel, Record

__all__ = ["network_of", "open_inputs", "predict", "settings_of"]


def network_of(
    settings: Settings, opened: Any, record: Record, weights: Mapping[str, Tensor]
) -> nn.Module:
    """The network that a record is of."""
    return build_network(settings_from_plain(record.settings), None)


def predict(
    settings: Settings, opened: Opened, models: FoldModels[FoldModel], studies: Sequence[str]
) -> Found:
    """The points of ``studies``."""
    return find_points(models, opened.stacks, studies, opened.entries)
