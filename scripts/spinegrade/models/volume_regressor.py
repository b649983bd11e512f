"""Coordinates from a volume: an inflated timm network's pooled features through a linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from spinegrade.models import inflated_backbone


class VolumeRegressor(nn.Module):
    """(n, channels, slices, rows, cols) to (n, points, coordinates)."""

    def __init__(self, backbone: nn.Module, points: int, coordinates: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.num_features, points * coordinates)
        self.shape = (points, coordinates)

    def forward(self, volumes: Tensor) -> Tensor:
        """``volumes`` float in -1 .. 1."""
        return self.head(self.backbone(volumes)).unflatten(1, self.shape)


def build(
    backbone: str,
    channels: int,
    points: int,
    coordinates: int,
    image_px: int,
    pretrained: str | None = None,
) -> VolumeRegressor:
    """A timm ``backbone`` of convolutions, inflated; ``image_px`` is of no account to these."""
    del image_px
    network = inflated_backbone.build(backbone, channels, pretrained)
    return VolumeRegressor(network, points, coordinates)
