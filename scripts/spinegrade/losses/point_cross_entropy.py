"""Cross entropy of heatmaps and slice logits against normals about the points."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor


def build(sigma_px: float, sigma_slices: float) -> Callable[..., tuple[Tensor, Tensor]]:
    """The loss ``(in_plane, slices, points, known, stride=...)`` of two widths, as below."""
    return partial(point_cross_entropy, sigma_px=sigma_px, sigma_slices=sigma_slices)


def _soft_cross_entropy(logits: Tensor, squared: Tensor, sigma: float) -> Tensor:
    """Cross entropy over the last axis against a normal of width ``sigma`` at distance zero."""
    wanted = (-squared / (2 * sigma**2)).softmax(dim=-1)
    return -(wanted * logits.log_softmax(dim=-1)).sum(dim=-1)


def point_cross_entropy(
    in_plane: Tensor,
    slices: Tensor | None,
    points: Tensor,
    known: Tensor,
    *,
    stride: int,
    sigma_px: float,
    sigma_slices: float,
) -> tuple[Tensor, Tensor]:
    """Mean losses (in the plane, along the slices) over the known points of a batch.

    ``in_plane`` (B, P, rows, cols) and ``slices`` (B, P, S) are logits; heatmap pixel (x, y)
    covers ``stride`` input pixels a side. ``points`` (B, P, 3) are (x, y, slice) of the input,
    ``known`` bool (B, P). Targets are normals of ``sigma_px`` heatmap pixels and
    ``sigma_slices`` slices about the points (Nibali et al., 2018, compare such losses).
    """
    rows, cols = in_plane.shape[-2:]
    counted = known.float()
    total = counted.sum().clamp(min=1)
    place = (points[:, :, :2] + 0.5) / stride - 0.5
    x = (torch.arange(cols, device=in_plane.device) - place[:, :, :1]) ** 2
    y = (torch.arange(rows, device=in_plane.device) - place[:, :, 1:]) ** 2
    squared = (y[:, :, :, None] + x[:, :, None, :]).flatten(2)
    plane_loss = _soft_cross_entropy(in_plane.flatten(2), squared, sigma_px)
    plane_loss = (plane_loss * counted).sum() / total
    if slices is None:
        return plane_loss, torch.zeros_like(plane_loss)
    along = torch.arange(slices.shape[-1], device=slices.device) - points[:, :, 2:]
    slice_loss = _soft_cross_entropy(slices, along**2, sigma_slices)
    return plane_loss, (slice_loss * counted).sum() / total
