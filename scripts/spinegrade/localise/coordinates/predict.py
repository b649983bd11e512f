"""The points that localisers of coordinates find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from spinegrade.localise.coordinates.find import find_points
from spinegrade.localise.coordinates.network import build_network
from spinegrade.localise.coordinates.settings import Settings
from spinegrade.training.fold_models import FoldModels
from spinegrade.training.jobs import Found, PredictJob
from spinegrade.training.record import FoldModel, Record
from spinegrade.volumes import Stack, load_stacks

__all__ = ["Settings", "network_of", "open_inputs", "predict"]


def open_inputs(settings: Settings, job: PredictJob) -> list[Stack]:
    """The stacks of the shard."""
    return load_stacks(job.inputs["stacks"])


def network_of(
    settings: Settings, opened: Any, record: Record, weights: Mapping[str, Tensor]
) -> nn.Module:
    """The network that a record is of."""
    return build_network(Settings(record.name, record.settings), None)


def predict(
    settings: Settings, opened: list[Stack], models: FoldModels[FoldModel], studies: Sequence[str]
) -> Found:
    """The points of ``studies``."""
    entries = "published" if settings.keeps("entries") else "fixed"
    return find_points(models, opened, studies, entries)
