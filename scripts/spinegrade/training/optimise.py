"""Learning rates by step and which parameters decay, each a choice by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from spinegrade.training.plan import Plan


def _cosine(step: int, total: float, warm: float, cycles: float) -> float:
    done = (step - warm) / max(1.0, total - warm)
    return 0.5 * (1.0 + math.cos(2.0 * math.pi * cycles * done))


def _rise_and_cosine(step: int, plan: Plan, steps: int) -> float:
    """Linear from the first step over ``warm_up`` of the schedule, then ``cycles`` of a cosine."""
    total = steps * (plan.schedule_epochs or plan.epochs)
    warm = plan.warm_up * total
    if step < warm:
        return min(1.0, (step + 1) / warm)
    return _cosine(step, total, warm, plan.cycles)


def _rise_from_zero(step: int, plan: Plan, steps: int) -> float:
    """As transformers' get_cosine_schedule_with_warmup: the first step has a rate of zero.

    ``warm_up`` is a share of the epochs that are run, not of the schedule's.
    """
    warm = plan.warm_up * plan.epochs * steps
    if step < warm:
        return step / max(1.0, warm)
    return _cosine(step, (plan.schedule_epochs or plan.epochs) * steps, warm, plan.cycles)


def _constant(step: int, plan: Plan, steps: int) -> float:
    """One all the time."""
    return 1.0


def _one_cycle(step: int, plan: Plan, steps: int) -> float:
    """As torch's OneCycleLR: half a cosine from 1 / 25 up to 1, another down to nearly nothing."""
    total = steps * (plan.schedule_epochs or plan.epochs)
    top = plan.warm_up * total - 1
    if step < top:
        low, high, done = 1 / 25, 1.0, step / top
    else:
        low, high, done = 1.0, 1 / 25e4, (step - top) / max(1e-9, total - 1 - top)
    return high + (low - high) / 2 * (1 + math.cos(math.pi * done))


SCHEDULES: dict[str, Callable[[int, Plan, int], float]] = {
    "cosine": _rise_and_cosine,
    "cosine_from_zero": _rise_from_zero,
    "constant": _constant,
    "one_cycle": _one_cycle,
}
"""By name the learning rate's share at a step of the plan's own epochs, counted from 0."""

DECAYS: dict[str, Callable[[str, nn.Parameter], bool]] = {
    "all": lambda name, parameter: True,
    "not_biases": lambda name, parameter: "bias" not in name,
    "matrices": lambda name, parameter: parameter.ndim > 1,
}
"""By name whether a parameter decays: all; all but biases; all but those of one axis."""


def learning_rate(plan: Plan, steps: int, epoch: int, step: int) -> float:
    """The rate at a ``step`` of an ``epoch`` of ``steps`` steps, all counted from 0."""
    if epoch >= plan.epochs:
        return plan.stage_of(epoch).learning_rate
    return plan.learning_rate * SCHEDULES[plan.schedule](epoch * steps + step, plan, steps)


def parameter_groups(network: nn.Module, plan: Plan) -> list[dict[str, Any]]:
    """The parameters that are trained: those that decay, then those that do not."""
    decays = DECAYS[plan.decay]
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for n, p in named if decays(n, p)], "weight_decay": plan.weight_decay},
        {"params": [p for n, p in named if not decays(n, p)], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def optimiser_of(network: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """AdamW as ``plan`` has it."""
    groups = parameter_groups(network, plan)
    return torch.optim.AdamW(groups, lr=plan.learning_rate, foreach=True)
