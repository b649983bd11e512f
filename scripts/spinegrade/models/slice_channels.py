"""Slices of a crop as the channels of one image: one pass of a 2D network a crop."""

from __future__ import annotations

from torch import Tensor, nn

from spinegrade.models import timm_backbone


class SliceChannels(nn.Module):
    """(n, slices, h, w) to (n, ``num_features``)."""

    def __init__(self, backbone: nn.Module, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_features = backbone.num_features
        self.dropout = nn.Dropout(dropout)

    def forward(self, crops: Tensor) -> Tensor:
        """``crops`` (n, slices, h, w), normalised float."""
        return self.dropout(self.backbone(crops))


def build(
    backbone: str,
    slices: int,
    image_px: int,
    pretrained: str | None = None,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> SliceChannels:
    """A timm ``backbone`` whose first convolution takes ``slices`` channels."""
    network = timm_backbone.build(backbone, slices, pretrained, image_px, drop_path)
    return SliceChannels(network, dropout)
