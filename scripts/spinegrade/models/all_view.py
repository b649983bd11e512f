"""All five conditions of a level graded together, from sagittal crops and axial slices.

The *all-view* model of lhwcv's part of the seventh place of RSNA 2024. One network reads the
sagittal crops of all conditions, whose features a gate weighs by condition; another the axial
slices, one by one and then in order. What both say together is added to what the sagittal crop
says alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spinegrade.models import timm_backbone
from spinegrade.models.grader_parts import (
    SIDED_CONDITIONS,
    ConditionGate,
    CropFeatures,
    SequenceGru,
    full_precision,
    two_layers,
)
from spinegrade.regions.lumbar_views import VIEW_OF_CONDITION

FEATURES = 512
VIEW_FEATURES = 128


class AllView(nn.Module):
    """Shapes of ``regions.lumbar_views``; a row is a level of a study.

    The canal's crop speaks for three conditions. ``repeated`` looks at it three times, as the
    published model does: in evaluation the same, in training another weight in the batch
    statistics.
    """

    def __init__(
        self,
        sagittal: nn.Module,
        axial: nn.Module,
        hidden: int,
        dropout: float,
        repeated: bool,
    ) -> None:
        super().__init__()
        self.sagittal = CropFeatures(sagittal, FEATURES)
        self.gate = ConditionGate(FEATURES)
        self.dropout = nn.Dropout(dropout)
        self.own_head = two_layers(FEATURES, FEATURES, 3)
        self.view_head = two_layers(FEATURES, FEATURES, VIEW_FEATURES)
        self.axial = CropFeatures(axial)
        self.sequence = SequenceGru(axial.num_features, hidden)
        joined = SIDED_CONDITIONS * VIEW_FEATURES + 2 * hidden
        self.head = nn.Linear(joined, SIDED_CONDITIONS * 3)
        self.repeated = repeated

    def forward(
        self, sagittal: Tensor, sagittal_there: Tensor, axial: Tensor, owner: Tensor
    ) -> Tensor:
        """Logits float32 (N, 5, 3) of the sided conditions.

        ``sagittal`` float (N, views, S, y, x), ``sagittal_there`` bool (N, views); ``axial`` float
        (M, P, C, y, x) of M sequences, ``owner`` int64 (M,), not falling, the row of each. The
        sequences of a row are read one after the other as a single one; a row may have none.
        """
        views = torch.tensor(VIEW_OF_CONDITION, device=sagittal.device)
        if self.repeated:
            features = self.sagittal(sagittal[:, views], sagittal_there[:, views])
        else:
            features = self.sagittal(sagittal, sagittal_there)[:, views]
        everywhere = torch.ones(axial.shape[:2], dtype=torch.bool, device=axial.device)
        slices = self.axial(axial, everywhere)
        lengths = torch.bincount(owner, minlength=len(sagittal)) * axial.shape[1]
        with full_precision(sagittal.device):
            gated = self.dropout(features * self.gate())
            level = self.sequence.of_lengths(slices.flatten(0, 1), lengths.tolist())
            joined = torch.cat([self.view_head(gated).flatten(1), level], dim=1)
            return self.own_head(gated) + self.head(joined).unflatten(1, (SIDED_CONDITIONS, 3))


def build(
    encoder: Mapping[str, object],
    axial_encoder: Mapping[str, object],
    slices: int,
    sagittal_px: int | None = None,
    axial_px: int | None = None,
    dropout: float = 0.1,
    hidden: int = 512,
    repeated: bool = False,
) -> AllView:
    """Two timm networks (options of ``timm_backbone.build``) and their heads.

    ``slices`` are the channels of the sagittal one; the axial one has three.
    """
    return AllView(
        timm_backbone.build(channels=slices, image_px=sagittal_px, **encoder),
        timm_backbone.build(channels=3, image_px=axial_px, **axial_encoder),
        hidden,
        dropout,
        repeated,
    )
