"""The one-stage network for canal stenosis: chooses slices, finds five points and grades each.

The network of hengck23's part of the seventh place of RSNA 2024: encoder and decoder see each
slice alone; a head on each slice's mean features says in which slice each level is seen best;
the features of the slices about the mean of those places are averaged to one map, and on it
a heatmap a level weighs the grades that every pixel has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from spinegrade.errors import SpinegradeError
from spinegrade.models import slice_pyramid
from spinegrade.models.packed_convolution import UpsamplingConv2d
from spinegrade.models.packed_volumes import Packing, at_least_single, volume_log_softmax


class CanalOutput(NamedTuple):
    """What the network finds; all float32. A mask pixel is four image pixels a side.

    ``log_slices`` (points, S): log-probabilities over each volume's slices. ``log_heatmaps``
    (B, points, h, w): over the pixels of the volume's pooled map. ``points`` (B, points, 3):
    x and y expected, in mask pixels, z the most probable slice. ``grades`` (B, points, 3) and
    ``pixel_grades`` (B, 3, h, w): probabilities.
    """

    log_slices: Tensor
    log_heatmaps: Tensor
    points: Tensor
    grades: Tensor
    pixel_grades: Tensor


class _DecoderBlock(nn.Module):
    def __init__(self, below: int, skipped: int, width: int) -> None:
        super().__init__()
        self.conv1 = UpsamplingConv2d(below + skipped, width)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, low: Tensor, skip: Tensor) -> Tensor:
        features = functional.relu(self.norm1(self.conv1(skip, low)), inplace=True)
        return functional.relu(self.norm2(self.conv2(features)), inplace=True)


def _pixel_head(features: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(features, width, 1),
        nn.BatchNorm2d(width),
        nn.SiLU(),
        nn.Conv2d(width, outputs, 1),
    )


class OneStageCanal(slice_pyramid.PyramidNetwork):
    """See the module's docstring; ``reach`` slices on either side of the mean one are averaged."""

    stride = 4

    def __init__(
        self, encoder: nn.Module, widths: Sequence[int], z_channels: int, points: int, reach: int
    ) -> None:
        super().__init__()
        self.encoder, self.reach = encoder, reach
        *skipped, below = encoder.channels
        self.decoder = nn.ModuleList()
        for skip, width in zip(reversed(skipped), widths, strict=True):
            self.decoder.append(_DecoderBlock(below, skip, width))
            below = width
        self.slice_head = nn.Sequential(
            nn.Linear(below, z_channels),
            nn.BatchNorm1d(z_channels),
            nn.ReLU(inplace=True),
            nn.Linear(z_channels, points),
        )
        self.level_head = _pixel_head(below, z_channels, points)
        self.grade_head = _pixel_head(below, z_channels, 3)

    def forward(self, slices: Tensor, lengths: Sequence[int]) -> CanalOutput:
        """Packed ``slices`` (S, 1, rows, cols) in -1 .. 1 of volumes of ``lengths``.

        Raises SpinegradeError where ``lengths`` do not add up to S, where rows or columns are no
        multiple of 32, and in training for a batch of one slice, which has no statistics.
        """
        lengths = Packing(lengths, len(slices), slices.device).lengths
        if self.training and len(slices) == 1:
            raise SpinegradeError(
                "a training batch of one volume of one slice came to the one-stage canal network, "
                "whose slice head normalises over slices; leave the series out or take larger "
                "batches",
                code="BATCH_OF_ONE_SLICE",
            )
        *skipped, features = self.encoder(slices)
        for block, skip in zip(self.decoder, reversed(skipped), strict=True):
            features = block(features, skip)
        with torch.autocast(slices.device.type, enabled=False):
            return self._heads(features, lengths)

    def _heads(self, features: Tensor, lengths: list[int]) -> CanalOutput:
        means = at_least_single(features).mean(dim=(2, 3))
        log_slices = volume_log_softmax(self.slice_head(means).t(), lengths)
        pooled = self._pooled(features, log_slices.detach(), lengths)
        levels = self.level_head(pooled)
        log_heatmaps = levels.flatten(2).log_softmax(dim=2).view_as(levels)
        pixel_grades = self.grade_head(pooled).softmax(dim=1)
        heatmaps = log_heatmaps.exp()
        grades = torch.einsum("bphw,bghw->bpg", heatmaps, pixel_grades)
        rows, cols = heatmaps.shape[-2:]
        along = torch.arange(max(rows, cols), dtype=heatmaps.dtype, device=features.device)
        x, y = heatmaps.sum(dim=2) @ along[:cols], heatmaps.sum(dim=3) @ along[:rows]
        best = [part.argmax(dim=1) for part in log_slices.split(lengths, dim=1)]
        points = torch.stack([x, y, torch.stack(best).to(x.dtype)], dim=2)
        return CanalOutput(log_slices, log_heatmaps, points, grades, pixel_grades)

    def _pooled(self, features: Tensor, log_slices: Tensor, lengths: list[int]) -> Tensor:
        """Mean features (B, channels, h, w) of the slices about each volume's mean place."""
        places: list[int] = []
        counts: list[int] = []
        start = 0
        for part in log_slices.split(lengths, dim=1):
            length = part.shape[1]
            along = torch.arange(length, dtype=part.dtype, device=part.device)
            # Which slices are taken has no gradient, in the published network as well.
            centre = round(float(part.exp().mean(dim=0) @ along))
            chosen = range(max(centre - self.reach, 0), min(centre + self.reach + 1, length))
            places += [start + index for index in chosen]
            counts.append(len(chosen))
            start += length
        taken = features.index_select(0, torch.tensor(places, device=features.device))
        return torch.stack([part.mean(dim=0) for part in at_least_single(taken).split(counts)])


def build(
    encoder: Mapping[str, Any],
    widths: Sequence[int] = (384, 192, 96),
    z_channels: int = 64,
    points: int = 5,
    reach: int = 3,
) -> OneStageCanal:
    """The network with the encoder ``slice_pyramid.build(**encoder)``.

    ``widths`` are the decoder's channels from stride 16 to stride 4, ``z_channels`` those inside
    the heads. Raises SpinegradeError as ``slice_pyramid.build`` does.
    """
    return OneStageCanal(slice_pyramid.build(**encoder), widths, z_channels, points, reach)
