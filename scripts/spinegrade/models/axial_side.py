"""A subarticular recess graded on its axial crop, with the sagittal T2 crop beside it.

The axial model of lhwcv's part of the seventh place of RSNA 2024: axial slices are read one by one
and then in order, the sagittal crops of a side are told of each other along the levels, and
both views end in 128 features.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spinegrade.models import timm_backbone
from spinegrade.models.grader_parts import (
    CropFeatures,
    LevelLstm,
    SequenceGru,
    full_precision,
    two_layers,
)

FEATURES = 512
VIEW_FEATURES = 128


class AxialSide(nn.Module):
    """Shapes of ``regions.lumbar_views``; sides come to it as one, the right ones mirrored."""

    def __init__(self, sagittal: nn.Module, axial: nn.Module, hidden: int, dropout: float) -> None:
        super().__init__()
        self.sagittal = CropFeatures(sagittal, FEATURES)
        self.levels = LevelLstm(FEATURES)
        self.sagittal_head = nn.Linear(FEATURES, VIEW_FEATURES)
        self.axial = CropFeatures(axial)
        self.sequence = SequenceGru(axial.num_features, hidden)
        self.axial_head = two_layers(2 * hidden, FEATURES, VIEW_FEATURES)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * VIEW_FEATURES, 3)

    def forward(
        self, sagittal: Tensor, sagittal_there: Tensor, axial: Tensor, axial_there: Tensor
    ) -> Tensor:
        """Logits float32 (B, 2, L, 3) of the two sides.

        ``sagittal`` float (B, 2, L, S, y, x), ``axial`` float (B, 2, L, Z, C, y, x); what is there
        bool (B, 2, L).
        """
        beside = self.sagittal(sagittal, sagittal_there)
        there = axial_there[..., None].expand(*axial_there.shape, axial.shape[3])
        slices = self.axial(axial, there)
        with full_precision(axial.device):
            beside = self.sagittal_head(self.levels(beside))
            recess = self.axial_head(self.sequence(slices))
            return self.head(self.dropout(torch.cat([beside, recess], dim=-1)))


def build(
    encoder: Mapping[str, object],
    axial_encoder: Mapping[str, object],
    sagittal_slices: int,
    axial_channels: int,
    sagittal_px: int | None = None,
    axial_px: int | None = None,
    dropout: float = 0.0,
    hidden: int = 512,
) -> AxialSide:
    """Two timm networks (options of ``timm_backbone.build``) and their heads.

    ``sagittal_slices`` are the channels of one, ``axial_channels`` those of a slice of the other.
    """
    return AxialSide(
        timm_backbone.build(channels=sagittal_slices, image_px=sagittal_px, **encoder),
        timm_backbone.build(channels=axial_channels, image_px=axial_px, **axial_encoder),
        hidden,
        dropout,
    )
