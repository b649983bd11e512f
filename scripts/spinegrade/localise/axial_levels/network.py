"""The network of a localiser of axial levels, built from its settings."""

from __future__ import annotations

from torch import nn

from spinegrade.localise.axial_levels.settings import Settings
from spinegrade.models.registry import build
from spinegrade.training.record import FoldModel


def build_network(settings: Settings, pretrained: str | None) -> nn.Module:
    """The untrained network, its encoder's weights as ``pretrained`` says."""
    attention = "published" if settings.keeps("attention") else "fixed"
    options = settings.network_options(pretrained)
    return build(settings.model_name, attention=attention, **options)


def settings_of_model(model: FoldModel) -> Settings:
    """The settings that a stored model was trained by."""
    return Settings(model.record.name, model.record.settings)
