"""The exponential moving average of a model's weights, which is what predicts."""

from __future__ import annotations

import copy

import torch
from torch import nn


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

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights of ``model`` after one more step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        mine, theirs = self.model.state_dict(), model.state_dict()
        names = [name for name, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [mine[name] for name in names], [theirs[name] for name in names], 1 - decay
        )
        for name in mine.keys() - set(names):
            mine[name].copy_(theirs[name])
