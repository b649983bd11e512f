"""A sagittal crop graded alone, its slices read one by one and then in order.

The *GRU* head of lhwcv's part of the seventh place of RSNA 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from spinegrade.models import timm_backbone
from spinegrade.models.grader_parts import CropFeatures, SequenceGru, full_precision


class ViewGru(nn.Module):
    """Shapes of ``regions.lumbar_views``: sagittal crops to logits."""

    def __init__(self, backbone: nn.Module, hidden: int, dropout: float) -> None:
        super().__init__()
        self.features = CropFeatures(backbone)
        self.sequence = SequenceGru(backbone.num_features, hidden)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * hidden, 3))

    def forward(self, sagittal: Tensor, sagittal_there: Tensor) -> Tensor:
        """Float (B, G, L, S, y, x) and bool (B, G, L) to logits float32 (B, G, L, 3)."""
        slices = sagittal.shape[3]
        there = sagittal_there[..., None].expand(*sagittal_there.shape, slices)
        features = self.features(sagittal.unsqueeze(4), there)
        with full_precision(sagittal.device):
            return self.head(self.sequence(features))


def build(
    backbone: str,
    slices: int,
    conditions: Sequence[int],
    pretrained: str | None = None,
    image_px: int | None = None,
    drop_path: float = 0.0,
    dropout: float = 0.2,
    hidden: int = 512,
) -> ViewGru:
    """A timm ``backbone`` on single slices; ``hidden`` units each way.

    ``slices`` and ``conditions`` make no odds.
    """
    network = timm_backbone.build(backbone, 1, pretrained, image_px, drop_path)
    return ViewGru(network, hidden, dropout)
