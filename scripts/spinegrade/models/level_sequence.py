"""Levels of axial slices: a 2D network on windows of three, then recurrence and attention.

lhwcv's axial level classifier (RSNA 2024, seventh place), written anew: each slice with its
neighbours becomes features, a bidirectional LSTM with a residual and a transformer encoder read
them in order, and three linear heads tell for each slice its level, and how near it is to the left
and the right point of each level.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from spinegrade.models import timm_backbone
from spinegrade.regions.lumbar_mri import LUMBAR_LEVELS


class LevelOutput(NamedTuple):
    """Logits: ``levels`` (L, 5) of each slice, ``sides`` (L, 2, 5) of left and right points."""

    levels: Tensor
    sides: Tensor


class LevelSequence(nn.Module):
    """``attention`` "fixed": slices attend to each other. "published": each to itself alone.

    The submitted code gave the encoder sequences where it expected batches, so that its attention
    ran over one slice; the encoder was then no more than a perceptron a slice.
    """

    def __init__(self, backbone: nn.Module, width: int, dropout: float, attention: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.alone = attention == "published"
        self.project = nn.Linear(backbone.num_features, width)
        self.recurrent = nn.LSTM(
            width, width // 2, num_layers=2, bidirectional=True, batch_first=True
        )
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.level, self.left, self.right = (nn.Linear(width, len(LUMBAR_LEVELS)) for _ in range(3))

    def forward(self, slices: Tensor) -> LevelOutput:
        """``slices`` float (L, rows, cols) in -1 .. 1, all of a study from head to feet."""
        padded = functional.pad(slices, (0, 0, 0, 0, 1, 1))
        windows = torch.stack([padded[:-2], padded[1:-1], padded[2:]], dim=1)
        features = self.project(self.backbone(windows))[None]
        features = features + self.recurrent(features)[0]
        if self.alone:
            features = self.encoder(features.transpose(0, 1)).transpose(0, 1)
        else:
            features = self.encoder(features)
        sides = torch.stack([self.left(features[0]), self.right(features[0])], dim=1)
        return LevelOutput(self.level(features[0]), sides)


def build(
    backbone: str,
    image_px: int,
    pretrained: str | None = None,
    attention: str = "fixed",
    width: int = 512,
    dropout: float = 0.1,
) -> LevelSequence:
    """Any timm ``backbone``; ``width`` features a slice, half of it a direction of the LSTM."""
    network = timm_backbone.build(backbone, 3, pretrained, image_px)
    return LevelSequence(network, width, dropout, attention)
