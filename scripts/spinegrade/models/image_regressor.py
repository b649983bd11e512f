"""Coordinates from one image: a timm network's pooled features through one linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from spinegrade.models import timm_backbone


class ImageRegressor(nn.Module):
    """(n, channels, 1, rows, cols) to (n, points, coordinates)."""

    def __init__(self, backbone: nn.Module, points: int, coordinates: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.num_features, points * coordinates)
        self.shape = (points, coordinates)

    def forward(self, images: Tensor) -> Tensor:
        """``images`` float in -1 .. 1."""
        return self.head(self.backbone(images[:, :, 0])).unflatten(1, self.shape)


def build(
    backbone: str,
    channels: int,
    points: int,
    coordinates: int,
    image_px: int,
    pretrained: str | None = None,
) -> ImageRegressor:
    """Any timm ``backbone``; ``image_px`` for those whose shape depends on it."""
    network = timm_backbone.build(backbone, channels, pretrained, image_px)
    return ImageRegressor(network, points, coordinates)
