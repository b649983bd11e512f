"""A sagittal crop graded alone, by features that its condition lets through.

The *cond* head of lhwcv's part of the seventh place of RSNA 2024: one network for all conditions,
whose 512 features are weighed by a gate learnt for each.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spinegrade.models import timm_backbone
from spinegrade.models.grader_parts import ConditionGate, CropFeatures, full_precision, two_layers

FEATURES = 512


class ViewCondition(nn.Module):
    """Shapes of ``regions.lumbar_views``; ``conditions`` are places in SIDED_CONDITIONS."""

    def __init__(self, backbone: nn.Module, conditions: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.features = CropFeatures(backbone, FEATURES)
        self.gate = ConditionGate(FEATURES)
        self.dropout = nn.Dropout(dropout)
        self.head = two_layers(FEATURES, FEATURES, 3)
        self.register_buffer("conditions", torch.tensor(list(conditions)), persistent=False)

    def forward(self, sagittal: Tensor, sagittal_there: Tensor) -> Tensor:
        """Float (B, G, L, S, y, x) and bool (B, G, L) to logits float32 (B, G, L, 3)."""
        features = self.features(sagittal, sagittal_there)
        with full_precision(sagittal.device):
            shares = self.gate()[self.conditions]
            return self.head(self.dropout(features * shares[:, None]))


def build(
    backbone: str,
    slices: int,
    conditions: Sequence[int],
    pretrained: str | None = None,
    image_px: int | None = None,
    drop_path: float = 0.0,
    dropout: float = 0.1,
) -> ViewCondition:
    """A timm ``backbone`` of ``slices`` channels; ``conditions``: the sided ones of the crops."""
    network = timm_backbone.build(backbone, slices, pretrained, image_px, drop_path)
    return ViewCondition(network, conditions, dropout)
