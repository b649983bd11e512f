"""Sagittal crops of the five levels of a condition graded together.

The *level-LSTM* head of lhwcv's part of the seventh place of RSNA 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from spinegrade.models import timm_backbone
from spinegrade.models.grader_parts import CropFeatures, LevelLstm, full_precision, two_layers

FEATURES = 512


class ViewLevelLstm(nn.Module):
    """Shapes of ``regions.lumbar_views``: sagittal crops to logits."""

    def __init__(self, backbone: nn.Module, dropout: float) -> None:
        super().__init__()
        self.features = CropFeatures(backbone, FEATURES)
        self.levels = LevelLstm(FEATURES)
        self.dropout = nn.Dropout(dropout)
        self.head = two_layers(FEATURES, FEATURES, 3)

    def forward(self, sagittal: Tensor, sagittal_there: Tensor) -> Tensor:
        """Float (B, G, L, S, y, x) and bool (B, G, L) to logits float32 (B, G, L, 3)."""
        features = self.features(sagittal, sagittal_there)
        with full_precision(sagittal.device):
            return self.head(self.dropout(self.levels(features)))


def build(
    backbone: str,
    slices: int,
    conditions: Sequence[int],
    pretrained: str | None = None,
    image_px: int | None = None,
    drop_path: float = 0.0,
    dropout: float = 0.0,
) -> ViewLevelLstm:
    """A timm ``backbone`` of ``slices`` channels; ``conditions`` make no odds."""
    network = timm_backbone.build(backbone, slices, pretrained, image_px, drop_path)
    return ViewLevelLstm(network, dropout)
