"""The network of a localiser of coordinates, built from its settings."""

from __future__ import annotations

from torch import nn

from spinegrade.localise.coordinates.settings import Settings
from spinegrade.models.registry import build
from spinegrade.training.record import FoldModel


def build_network(settings: Settings, pretrained: str | None) -> nn.Module:
    """The untrained network, its encoder's weights as ``pretrained`` says."""
    return build(
        settings.model_name,
        channels=len(settings.channels),
        points=len(settings.cells),
        coordinates=settings.coordinates,
        **settings.network_options(pretrained),
    )


def settings_of_model(model: FoldModel) -> Settings:
    """The settings that a stored model was trained by."""
    return Settings(model.record.name, model.record.settings)
