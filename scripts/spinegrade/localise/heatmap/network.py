"""The network of a localiser of heatmaps, built from its settings, and what it is fed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spinegrade.localise.heatmap.settings import Settings
from spinegrade.models.registry import build


def normalised(images: Tensor) -> Tensor:
    """Images of 0 .. 1 as the networks take them, about zero mean and unit spread."""
    images = (images - 0.3) / 0.25
    return images.contiguous(memory_format=torch.channels_last)


def build_network(settings: Settings) -> nn.Module:
    """The untrained network of a localiser."""
    options = dict(settings.block["architecture"])
    network = build(
        options.pop("name"),
        in_channels=settings.grid["slices"],
        points=len(settings.target.points),
        slices=settings.grid["slices"] if settings.target.plane == "sagittal" else 0,
        **options,
    )
    return network.to(memory_format=torch.channels_last)
