"""Slices read in order by a two-way gated recurrent unit, each through a 2D network first."""

from __future__ import annotations

from torch import Tensor, nn

from spinegrade.models import timm_backbone


class SliceGru(nn.Module):
    """(n, slices, h, w) to (n, ``num_features``), the mean over the sequence."""

    def __init__(self, backbone: nn.Module, dropout: float, hidden: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_features = 2 * hidden
        self.recurrent = nn.GRU(backbone.num_features, hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, crops: Tensor) -> Tensor:
        """``crops`` (n, slices, h, w), normalised float."""
        features = self.backbone(crops.flatten(0, 1).unsqueeze(1)).unflatten(0, crops.shape[:2])
        sequence, _ = self.recurrent(self.dropout(features))
        return self.dropout(sequence.mean(dim=1))


def build(
    backbone: str,
    slices: int,
    image_px: int,
    pretrained: str | None = None,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    hidden: int = 128,
) -> SliceGru:
    """A timm ``backbone`` on single slices; ``hidden`` recurrent units each way."""
    network = timm_backbone.build(backbone, 1, pretrained, image_px, drop_path)
    return SliceGru(network, dropout, hidden)
