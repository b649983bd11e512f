"""The network that predicts the levels of axial slices, built from its settings."""

from __future__ import annotations

from torch import nn

from spinegrade.localise.coordinates.settings import Settings
from spinegrade.models.registry import build


def build_network(settings: Settings, pretrained: str | None) -> nn.Module:
    """The untrained network, its backbone's weights as ``pretrained`` says."""
    return build(
        settings.architecture,
        attention=settings.attention,
        backbone=settings.backbone,
        image_px=settings.image_px,
        pretrained=pretrained,
    )
