"""A sagittal crop graded alone: its slices are the channels of one image.

The *plain* head of the single-view models of lhwcv's part of the seventh place of RSNA 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from spinegrade.models import timm_backbone
from spinegrade.models.grader_parts import CropFeatures, full_precision


class ViewPlain(nn.Module):
    """Shapes of ``regions.lumbar_views``: sagittal crops to logits."""

    def __init__(self, backbone: nn.Module, dropout: float) -> None:
        super().__init__()
        self.features = CropFeatures(backbone)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(backbone.num_features, 3))

    def forward(self, sagittal: Tensor, sagittal_there: Tensor) -> Tensor:
        """Float (B, G, L, S, y, x) and bool (B, G, L) to logits float32 (B, G, L, 3)."""
        features = self.features(sagittal, sagittal_there)
        with full_precision(sagittal.device):
            return self.head(features)


def build(
    backbone: str,
    slices: int,
    conditions: Sequence[int],
    pretrained: str | None = None,
    image_px: int | None = None,
    drop_path: float = 0.0,
    dropout: float = 0.0,
) -> ViewPlain:
    """A timm ``backbone`` of ``slices`` channels and a linear head; ``conditions`` make no odds."""
    network = timm_backbone.build(backbone, slices, pretrained, image_px, drop_path)
    return ViewPlain(network, dropout)
