"""Slices pooled by attention: each slice through a 2D network, then a weighted mean.

The gated attention of M. Ilse, J. Tomczak and M. Welling, "Attention-based Deep Multiple
Instance Learning" (ICML 2018, eq. 9).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spinegrade.models import timm_backbone


class SliceAttention(nn.Module):
    """(n, slices, h, w) to (n, ``num_features``); the slice's place is known to the attention."""

    def __init__(self, backbone: nn.Module, slices: int, dropout: float, hidden: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_features = features = backbone.num_features
        self.place = nn.Parameter(torch.zeros(slices, features))
        self.content = nn.Linear(features, hidden)
        self.gate = nn.Linear(features, hidden)
        self.score = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, crops: Tensor) -> Tensor:
        """``crops`` (n, slices, h, w), normalised float."""
        features = self.backbone(crops.flatten(0, 1).unsqueeze(1))
        features = features.unflatten(0, crops.shape[:2]) + self.place
        gated = torch.tanh(self.content(features)) * torch.sigmoid(self.gate(features))
        weights = self.score(gated).softmax(dim=1)
        return self.dropout((weights * features).sum(dim=1))


def build(
    backbone: str,
    slices: int,
    image_px: int,
    pretrained: str | None = None,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    hidden: int = 64,
) -> SliceAttention:
    """A timm ``backbone`` on single slices; ``hidden`` units of attention."""
    network = timm_backbone.build(backbone, 1, pretrained, image_px, drop_path)
    return SliceAttention(network, slices, dropout, hidden)
