"""Volumes of different depth in one batch: their slices one after the other, nothing between.

A packed tensor is (S, channels, rows, cols), S the sum of ``lengths``. No slice is padding, so
whatever averages over a batch (batch statistics, losses) sees real voxels only; what mixes
slices asks ``Packing`` where volumes begin.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from spinegrade.errors import SpinegradeError


class Packing:
    """Which slices belong to which volume, and how they pair up.

    ``lengths`` are the slices of each volume, ``starts`` the place of each volume's first.
    A volume's slices 0 and 1, 2 and 3, ... are pairs, its last may lack the second: ``even``
    (pairs,) and ``odd`` (full pairs,) are the places of their slices, ``full`` (full pairs,) the
    pairs that have both and ``pair_starts`` each volume's first pair. Index tensors are int64
    on ``device``; ``even``, ``odd`` and ``full`` are None where all volumes are of even depth.

    Raises SpinegradeError where the lengths are not positive or do not add up to ``slices``.
    """

    def __init__(self, lengths: Sequence[int], slices: int, device: torch.device) -> None:
        self.lengths = [int(length) for length in lengths]
        if not self.lengths or min(self.lengths) < 1 or sum(self.lengths) != slices:
            raise SpinegradeError(
                f"a packed batch of {slices} slices came with the lengths {self.lengths}; expected "
                "one positive number a volume that add up to the slices",
                code="BATCH_LENGTHS",
            )
        self.starts = [sum(self.lengths[:volume]) for volume in range(len(self.lengths))]
        pairs = [(length + 1) // 2 for length in self.lengths]
        self.pairs = sum(pairs)
        self.pair_starts = [sum(pairs[:volume]) for volume in range(len(pairs))]
        self.even = self.odd = self.full = None
        if any(length % 2 for length in self.lengths):
            even, odd, full = [], [], []
            for start, length, pair in zip(
                self.starts, self.lengths, self.pair_starts, strict=True
            ):
                even += range(start, start + length, 2)
                odd += range(start + 1, start + length, 2)
                full += range(pair, pair + length // 2)
            self.even, self.odd, self.full = (
                torch.tensor(places, dtype=torch.int64, device=device)
                for places in (even, odd, full)
            )


def at_least_single(values: Tensor) -> Tensor:
    """``values`` in float32, or in float64 where they are; half precision is widened."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def volume_log_softmax(logits: Tensor, lengths: Sequence[int]) -> Tensor:
    """Log-probabilities that add up to one within each volume.

    ``logits`` (points, S, ...) of any float type; the same shape comes back, in float32 at least.
    """
    volumes = [
        at_least_single(part).flatten(1).log_softmax(dim=1).view(part.shape)
        for part in logits.split(list(lengths), dim=1)
    ]
    return torch.cat(volumes, dim=1)


def expected_places(heatmaps: Tensor, lengths: Sequence[int]) -> Tensor:
    """Mean places (volumes, points, 3), (x, y, z) in pixels and slices, of probabilities.

    ``heatmaps`` (points, S, h, w) add up to one within each volume (Nibali et al., 2018).
    """
    along = torch.arange(max(heatmaps.shape[1:]), dtype=heatmaps.dtype, device=heatmaps.device)
    found = []
    for part in heatmaps.split(list(lengths), dim=1):
        by_row_col = part.sum(dim=1)
        by_slice = part.sum(dim=(2, 3))
        by_col, by_row = by_row_col.sum(dim=1), by_row_col.sum(dim=2)
        axes = [values @ along[: values.shape[1]] for values in (by_col, by_row, by_slice)]
        found.append(torch.stack(axes, dim=1))
    return torch.stack(found)


def weighted_features(features: Tensor, heatmaps: Tensor, lengths: Sequence[int]) -> Tensor:
    """Means of ``features`` (S, channels, h, w) under ``heatmaps`` (points, S, h, w).

    Returns (volumes, points, channels); both are of one float type.
    """
    channels = features.shape[1]
    parts = zip(features.split(list(lengths)), heatmaps.split(list(lengths), dim=1), strict=True)
    # In channels-last memory the reshape is a view, and this one matrix product.
    return torch.stack(
        [
            heatmap.flatten(1) @ volume.permute(0, 2, 3, 1).reshape(-1, channels)
            for volume, heatmap in parts
        ]
    )
