"""The one-stage network for foraminal narrowing: finds ten points in a volume and grades each.

The network of hengck23's part of the seventh place of RSNA 2024: a two-dimensional encoder of
all slices, a three-dimensional decoder that never pools along the slices, a heatmap a point
over the whole volume, its expectation as the point's place, and a grade from the features that
the heatmap weighs. There one volume at a time went through the decoder; here volumes are packed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from spinegrade.models import slice_pyramid
from spinegrade.models.packed_convolution import PackedBatchNorm3d, PackedConv3d
from spinegrade.models.packed_volumes import (
    Packing,
    at_least_single,
    expected_places,
    volume_log_softmax,
    weighted_features,
)


class ForaminalOutput(NamedTuple):
    """What the network finds; all float32. A mask pixel is four image pixels a side.

    ``log_heatmaps`` (points, S, h, w): log-probabilities that each point lies in a voxel, their
    sum one in each volume. ``points`` (B, points, 3): expected (x, y, z) in mask pixels and
    slices. ``grades`` (B, points, 3): logits.
    """

    log_heatmaps: Tensor
    points: Tensor
    grades: Tensor


class _DecoderBlock(nn.Module):
    def __init__(self, below: int, skipped: int, width: int) -> None:
        super().__init__()
        self.conv1 = PackedConv3d(below + skipped, width)
        self.norm1 = PackedBatchNorm3d(width)
        self.conv2 = PackedConv3d(width, width)
        self.norm2 = PackedBatchNorm3d(width)

    def forward(self, low: Tensor, skip: Tensor, packing: Packing) -> Tensor:
        features = functional.relu(self.norm1(self.conv1(skip, packing, low)), inplace=True)
        return functional.relu(self.norm2(self.conv2(features, packing)), inplace=True)


class OneStageForaminal(slice_pyramid.PyramidNetwork):
    """See the module's docstring."""

    stride = 4

    def __init__(
        self, encoder: nn.Module, widths: Sequence[int], feature_channels: int, points: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        *skipped, below = encoder.channels
        self.decoder = nn.ModuleList()
        for skip, width in zip(reversed(skipped), widths, strict=True):
            self.decoder.append(_DecoderBlock(below, skip, width))
            below = width
        self.heatmap = nn.Conv3d(below, points, 1)
        self.feature = nn.Conv3d(below, feature_channels, 1)
        self.grade = nn.Sequential(
            nn.Linear(feature_channels, feature_channels),
            nn.BatchNorm1d(feature_channels),
            nn.ReLU(inplace=True),
            nn.Linear(feature_channels, 3),
        )

    def forward(self, slices: Tensor, lengths: Sequence[int]) -> ForaminalOutput:
        """Packed ``slices`` (S, 1, rows, cols) in -1 .. 1 of volumes of ``lengths``.

        Raises SpinegradeError where ``lengths`` do not add up to S and where rows or columns are
        no multiple of 32. A volume of one slice is possible.
        """
        packing = Packing(lengths, len(slices), slices.device)
        *skipped, features = self.encoder(slices)
        for block, skip in zip(self.decoder, reversed(skipped), strict=True):
            features = block(features, skip, packing)
        # Log-probabilities over a hundred thousand voxels need single precision.
        with torch.autocast(slices.device.type, enabled=False):
            return self._heads(at_least_single(features), packing.lengths)

    def _heads(self, features: Tensor, lengths: list[int]) -> ForaminalOutput:
        logits = functional.conv2d(features, self.heatmap.weight[:, :, 0], self.heatmap.bias)
        log_heatmaps = volume_log_softmax(logits.transpose(0, 1), lengths)
        heatmaps = log_heatmaps.exp()
        # A weighted mean and a linear map commute where the weights add up to one.
        pooled = weighted_features(features, heatmaps, lengths)
        pooled = functional.linear(pooled, self.feature.weight.flatten(1), self.feature.bias)
        grades = self.grade(pooled.flatten(0, 1)).view(len(lengths), -1, 3)
        return ForaminalOutput(log_heatmaps, expected_places(heatmaps, lengths), grades)


def build(
    encoder: Mapping[str, Any],
    widths: Sequence[int] = (384, 192, 96),
    feature_channels: int = 128,
    points: int = 10,
) -> OneStageForaminal:
    """The network with the encoder ``slice_pyramid.build(**encoder)``.

    ``widths`` are the decoder's channels from stride 16 to stride 4, ``feature_channels`` those
    that grades are made from. Raises SpinegradeError as ``slice_pyramid.build`` does.
    """
    return OneStageForaminal(slice_pyramid.build(**encoder), widths, feature_channels, points)
