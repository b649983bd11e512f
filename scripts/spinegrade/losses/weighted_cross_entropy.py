"""The metric's log loss of grades, every cell with its weight."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional


def build() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The loss ``(logits, grades, weights) -> mean``, of no options."""
    return weighted_cross_entropy


def weighted_cross_entropy(logits: Tensor, grades: Tensor, weights: Tensor) -> Tensor:
    """Mean weighted log loss of a batch: ``logits`` (n, 3), ``grades`` int64, ``weights`` (n,)."""
    losses = functional.cross_entropy(logits, grades, reduction="none")
    return (losses * weights).mean()
