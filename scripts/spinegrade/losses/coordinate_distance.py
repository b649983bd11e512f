"""Distance of regressed coordinates from the known ones, coordinate by coordinate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.nn import functional

_DISTANCES = {"l1": functional.l1_loss, "smooth_l1": functional.smooth_l1_loss}


def build(distance: str = "l1", weight: float = 1.0) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The loss ``(found, wanted, known)`` as below; ``distance`` l1 or smooth_l1."""
    return partial(coordinate_distance, distance=distance, weight=weight)


def coordinate_distance(
    found: Tensor, wanted: Tensor, known: Tensor, *, distance: str, weight: float
) -> Tensor:
    """Mean distance over the known coordinates of a batch, a scalar; 0 where none is known.

    ``found`` and ``wanted`` (B, P, K), both multiplied by ``weight`` first; ``known`` bool (B, P).
    """
    apart = _DISTANCES[distance](found * weight, wanted * weight, reduction="none")
    counted = known[..., None].expand_as(apart)
    return (apart * counted).sum() / counted.sum().clamp(min=1)
