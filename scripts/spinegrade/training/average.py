"""The exponential moving average of a model's weights, which is what predicts."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class MovingAverage:
    """Average of weights and running statistics over optimiser steps.

    The decay grows from 0 as (1 + steps) / (10 + steps) up to ``decay``, so that the first
    random weights are soon forgotten. ``model`` is the averaged copy.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.model = copy.deepcopy(model).eval()
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        # (averaged, trained) tensors, found at the first step: both keep their storage.
        self._pairs: list[tuple[Tensor, Tensor]] | None = None
        self._counts: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights of ``model`` after one more step."""
        if self._pairs is None:
            trained = model.state_dict()
            pairs = [(value, trained[name]) for name, value in self.model.state_dict().items()]
            self._pairs = [pair for pair in pairs if pair[0].is_floating_point()]
            self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        torch._foreach_lerp_([m for m, _ in self._pairs], [t for _, t in self._pairs], 1 - decay)
        for mine, theirs in self._counts:
            mine.copy_(theirs)
