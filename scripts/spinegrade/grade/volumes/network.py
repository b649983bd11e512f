"""The network of a grader of whole series, built from its settings."""

from __future__ import annotations

from torch import nn

from spinegrade.grade.volumes.settings import Settings
from spinegrade.models.registry import build as build_model


def build_network(settings: Settings) -> nn.Module:
    """The untrained network, its encoder's weights as ``encoder.pretrained`` says."""
    return build_model(settings.architecture, **settings.network_options)
