"""A small two-dimensional U-Net with slices as input channels and one heatmap a point.

The encoder-decoder follows Ronneberger et al. (2015), with one more halving in the stem, so
that a heatmap has half the input's height and width. Where points also have a place along
the slices, each point's own features, pooled under its heatmap, give logits over the slices.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


class Heatmaps(NamedTuple):
    """What the network returns: logits, not probabilities.

    ``in_plane`` (B, points, height / 2, width / 2) float; ``slices`` (B, points, slices)
    float, or None for a network without a slice head.
    """

    in_plane: Tensor
    slices: Tensor | None


def _convolution(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class SliceHead(nn.Module):
    """Logits over the slices for each point, from the network's features and from the image.

    The features, pooled under a point's heatmap, know where left and right are; the image
    around the point's greatest heatmap pixel, looked at slice by slice, shows which slice cuts
    the place itself.
    """

    reach = 3

    def __init__(self, features: int, points: int, slices: int, width: int) -> None:
        super().__init__()
        side = 2 * self.reach + 1
        self.features = nn.Conv2d(features, width, 1)
        # A linear map of its own for each point: foramina of one side share features, not slices.
        self.weight = nn.Parameter(torch.zeros(points, width, slices))
        self.bias = nn.Parameter(torch.zeros(points, slices))
        self.strip = nn.Sequential(
            nn.Conv1d(side**2, 32, 3, padding=1),
            nn.BatchNorm1d(32),
            nn.ReLU(inplace=True),
            nn.Conv1d(32, 32, 5, padding=2),
            nn.ReLU(inplace=True),
        )
        self.readout = nn.Parameter(torch.zeros(points, 32))
        offsets = torch.arange(-self.reach, self.reach + 1, dtype=torch.float32)
        grid = torch.stack(torch.meshgrid(offsets, offsets, indexing="xy"), dim=-1)
        self.register_buffer("offsets", grid.view(-1, 2), persistent=False)

    def forward(self, images: Tensor, features: Tensor, heatmaps: Tensor) -> Tensor:
        """(B, slices, H, W), (B, features, h, w), (B, points, h, w) to (B, points, slices)."""
        # Where to look is the heatmap's own task: the slice head does not pull at it.
        flat = heatmaps.detach().flatten(2)
        local = functional.relu(self.features(features)).flatten(2)
        pooled = flat.softmax(dim=2) @ local.transpose(1, 2)
        logits = torch.einsum("bpf,pfs->bps", pooled, self.weight) + self.bias

        rows, cols = heatmaps.shape[-2:]
        best = flat.argmax(dim=2)
        place = torch.stack([best % cols, best // cols], dim=-1).to(images.dtype)
        where = place[:, :, None] + self.offsets
        where = (where + 0.5) * (2.0 / where.new_tensor([cols, rows])) - 1.0
        coarse = functional.avg_pool2d(images, images.shape[-1] // cols)
        strips = functional.grid_sample(coarse, where, mode="nearest", align_corners=False)
        # (B, slices, points, patch) to one sequence of slices for each point.
        count, slices, points, patch = strips.shape
        strips = strips.permute(0, 2, 3, 1).reshape(count * points, patch, slices)
        seen = self.strip(strips).view(count, points, -1, slices)
        return logits + torch.einsum("bpfs,pf->bps", seen, self.readout)


class HeatmapUnet(nn.Module):
    """See the module's docstring; ``stride`` is the input's pixels per heatmap pixel."""

    stride = 2

    def __init__(
        self, *, in_channels: int, points: int, slices: int, width: int, depth: int, context: int
    ) -> None:
        super().__init__()
        widths = [width * (step + 1) for step in range(depth)]
        self.stem = nn.Conv2d(in_channels, width, 5, stride=self.stride, padding=2)
        self.encoder = nn.ModuleList()
        before = width
        for channels in widths:
            block = nn.Sequential(_convolution(before, channels), _convolution(channels, channels))
            self.encoder.append(block)
            before = channels
        self.context = nn.ModuleList(_convolution(before, before) for _ in range(context))
        self.decoder = nn.ModuleList()
        for channels in reversed(widths[:-1]):
            self.decoder.append(_convolution(before + channels, channels))
            before = channels
        self.heatmap = nn.Conv2d(before, points, 1)
        self.slice_head = SliceHead(before, points, slices, 2 * width) if slices else None

    def forward(self, images: Tensor) -> Heatmaps:
        """(B, in_channels, height, width) to ``Heatmaps``; sizes are multiples of 2 ** depth."""
        features = self.stem(images)
        kept = []
        for step, block in enumerate(self.encoder):
            features = block(functional.max_pool2d(features, 2) if step else features)
            kept.append(features)
        for block in self.context:
            features = features + block(features)
        for block, skip in zip(self.decoder, reversed(kept[:-1]), strict=True):
            larger = functional.interpolate(features, scale_factor=2, mode="nearest")
            features = block(torch.cat([larger, skip], dim=1))
        heatmaps = self.heatmap(features)
        if self.slice_head is None:
            return Heatmaps(heatmaps, None)
        return Heatmaps(heatmaps, self.slice_head(images, features, heatmaps))


def build(
    *,
    in_channels: int,
    points: int,
    slices: int = 0,
    width: int = 24,
    depth: int = 4,
    context: int = 0,
) -> HeatmapUnet:
    """A HeatmapUnet with ``depth`` scales of ``width``, 2 ``width``, ... channels.

    ``context`` more residual convolutions at the coarsest scale widen what it sees at little cost.

    ``slices`` is the number of slices that a point may lie in, 0 for points of one slice.
    """
    return HeatmapUnet(
        in_channels=in_channels,
        points=points,
        slices=slices,
        width=width,
        depth=depth,
        context=context,
    )
