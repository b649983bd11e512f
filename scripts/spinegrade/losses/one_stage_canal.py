"""The loss of the one-stage canal network: heatmaps, places, slices and grades of pixels.

As in hengck23's part of the seventh place of RSNA 2024, each part of weight one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from spinegrade.losses.heatmap_terms import (
    check_grade_mean,
    divergence_named,
    mean_of,
    place_errors,
    point_target,
    weighted_nll,
)

_SMALLEST = 1e-5
_NEIGHBOURS = ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5))


def build(
    grade_weights: Sequence[float] = (1, 2, 4),
    point_sigma_px: float = 1.0,
    pixel_weight: float = 0.5,
    neighbour_weight: float = 0.125,
    heatmap: str = "jensen_shannon",
    grade_mean: str = "weights",
) -> Callable[..., dict[str, Tensor]]:
    """The loss ``(output, points, known, grades, lengths) -> parts``.

    ``output`` is the network's CanalOutput; ``points`` float (B, P, 3), x and y in mask pixels,
    z the slice; ``known`` bool (B, P); ``grades`` int64 (B, P), -1 where missing; ``lengths``
    the slices of each volume. The parts, scalars whose sum is trained on:

    - ``heatmap``: mean Jensen-Shannon divergence, or ``heatmap`` "relative_entropy", from a normal
      of ``point_sigma_px`` mask pixels about each known point (from its nearest pixel where that
      is zero);
    - ``points``: mean squared error of x and y in mask pixels;
    - ``slices``: mean log loss of the known points' slices;
    - ``grade``: log loss weighted by ``grade_weights`` of the pooled grades, plus
      ``pixel_weight`` times that of the pixel nearest to each point, plus ``neighbour_weight``
      times those of the pixels nearest to it moved by half a pixel both ways along both axes,
      each mean as ``heatmap_terms.weighted_nll`` takes it.

    Raises SpinegradeError for an unknown ``heatmap`` or ``grade_mean``.
    """
    divergence = divergence_named(heatmap)
    check_grade_mean(grade_mean)

    def loss(
        output: tuple[Tensor, ...],
        points: Tensor,
        known: Tensor,
        grades: Tensor,
        lengths: Sequence[int],
    ) -> dict[str, Tensor]:
        log_slices, log_heatmaps, found, pooled, pixels = output
        shape = log_heatmaps.shape[2:]
        places = points[:, :, :2].flatten(0, 1)
        target, inside = point_target(places.flip(1), shape, (point_sigma_px, point_sigma_px))
        inside = inside & known.flatten()
        parted = mean_of(divergence(log_heatmaps.flatten(2).flatten(0, 1), target), inside)

        weights = torch.tensor(grade_weights, dtype=torch.float32, device=pooled.device)
        wanted = torch.where(known, grades, -1).flatten()
        grade = weighted_nll(_log(pooled.flatten(0, 1)), wanted, weights, grade_mean)
        at_pixels = torch.where(inside, wanted, -1)
        for weight, offsets in ((pixel_weight, ((0.0, 0.0),)), (neighbour_weight, _NEIGHBOURS)):
            for offset in offsets:
                seen = _at(pixels, points[:, :, :2] + points.new_tensor(offset))
                missed = weighted_nll(_log(seen), at_pixels, weights, grade_mean)
                grade = grade + weight * missed
        return {
            "heatmap": parted,
            "points": place_errors(found[:, :, :2], points[:, :, :2], known),
            "slices": _slice_loss(log_slices, points[:, :, 2], known, lengths),
            "grade": grade,
        }

    return loss


def _log(probabilities: Tensor) -> Tensor:
    return probabilities.clamp(_SMALLEST, 1 - _SMALLEST).log()


def _at(maps: Tensor, places: Tensor) -> Tensor:
    """Values (B * P, channels) of ``maps`` (B, channels, h, w) nearest to (x, y) (B, P, 2).

    Beyond a border it is the border's.
    """
    rows, cols = maps.shape[2:]
    x = places[:, :, 0].round().long().clamp(0, cols - 1)
    y = places[:, :, 1].round().long().clamp(0, rows - 1)
    index = (y * cols + x)[:, None].expand(-1, maps.shape[1], -1)
    return maps.flatten(2).gather(2, index).transpose(1, 2).flatten(0, 1)


def _slice_loss(
    log_slices: Tensor, slices: Tensor, known: Tensor, lengths: Sequence[int]
) -> Tensor:
    """Mean of minus the log-probability of the known points' slices."""
    nearest = slices.round().long()
    values, counted = [], []
    for volume, part in enumerate(log_slices.split(list(lengths), dim=1)):
        wanted = nearest[volume]
        counted.append(known[volume] & (wanted >= 0) & (wanted < part.shape[1]))
        chosen = wanted.clamp(0, part.shape[1] - 1)
        values.append(-part.gather(1, chosen[:, None]).squeeze(1))
    return mean_of(torch.stack(values), torch.stack(counted))
