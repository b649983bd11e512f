"""A regressor's network, built from its settings."""

from __future__ import annotations

from torch import nn

from spinegrade.localise.coordinates.settings import Settings, settings_from_plain
from spinegrade.models.registry import build
from spinegrade.training.record import FoldModel


def build_network(settings: Settings, pretrained: str | None) -> nn.Module:
    """The untrained network, its backbone's weights as ``pretrained`` says."""
    return build(
        settings.architecture,
        channels=len(settings.channels),
        points=len(settings.cells),
        coordinates=settings.of_kind.coordinates,
        backbone=settings.backbone,
        image_px=settings.image_px,
        pretrained=pretrained,
    )


def settings_of_model(model: FoldModel) -> Settings:
    """The settings that a stored model was trained by."""
    return settings_from_plain(model.record.settings)
