"""The loss of the two-stage graders: weighted cross entropy, column by column."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional


def build(grade_weights: Sequence[float] = (1, 2, 4)) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss ``(logits, grades) -> mean`` of lhwcv's part of the seventh place of RSNA 2024.

    ``logits`` float (B, C, 3), ``grades`` int64 (B, C), -1 where none counts. In each of the C
    columns the log loss of each row counts as its grade's weight, in the sum and in what divides
    it; the loss is the mean over the columns that have a grade. Without any it is zero (the
    published one is then not a number).
    """

    def loss(logits: Tensor, grades: Tensor) -> Tensor:
        weights = torch.tensor(grade_weights, dtype=torch.float32, device=logits.device)
        counted = grades >= 0
        chosen = grades.clamp(min=0)
        losses = functional.cross_entropy(
            logits.float().flatten(0, 1), chosen.flatten(), reduction="none"
        ).view(grades.shape)
        weight = torch.where(counted, weights[chosen], 0.0)
        total = weight.sum(dim=0)
        columns = (losses * weight).sum(dim=0) / total.clamp(min=weights.min())
        return columns.sum() / (total > 0).sum().clamp(min=1)

    return loss
