"""Loss of axial levels: the level of slices, how near they are to points, and where points lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from spinegrade.losses.sequence_terms import IGNORED, soft_places


def build(place_weight: float = 0.1) -> Callable[..., Tensor]:
    """The loss of ``level_sequence`` with this weight of the distances."""
    return partial(level_sequence, place_weight=place_weight)


def level_sequence(
    levels: Tensor,
    sides: Tensor,
    labels: Tensor,
    wanted: Tensor,
    counted: Tensor,
    segments: Sequence[tuple[int, int]],
    places: Tensor,
    *,
    place_weight: float,
) -> Tensor:
    """Losses (3,) of one study's L slices: level, side, place.

    ``levels`` (L, 5) and ``sides`` (L, 2, 5) are logits; ``labels`` int64 (L,) with ``IGNORED``;
    ``wanted`` (L, 2, 5) from 0 to 1, of which the entries ``counted`` (bool) count, summed and
    divided by the number of all, as published; ``places`` (n, 2, 5) in slices of each of
    n ``segments``, NaN where not annotated.
    """
    near = labels != IGNORED
    level = functional.cross_entropy(levels, labels, ignore_index=IGNORED, reduction="sum")
    side = functional.binary_cross_entropy_with_logits(sides, wanted, reduction="none")
    known = torch.isfinite(places)
    apart = (soft_places(sides.sigmoid(), segments) - places.nan_to_num()).abs() * known
    return torch.stack(
        [
            level / near.sum().clamp(min=1),
            (side * counted).sum() / counted.numel(),
            place_weight * apart.sum() / known.sum().clamp(min=1),
        ]
    )
