"""What a training in epochs and steps holds, saved and taken up in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spinegrade.training.average import MovingAverage
from spinegrade.training.checkpoint import random_state, restore_random_state


class TrainingState:
    """The part of a trainer that outlives it.

    ``epoch`` and ``step`` count what is done, steps within the epoch that is under way, whose
    losses are summed in ``totals``. ``history`` has a row an epoch. Optimiser and scaler belong
    to ``network``, of which ``average`` is the moving average.
    """

    network: nn.Module
    average: MovingAverage
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    device: torch.device
    epoch: int
    step: int
    totals: Tensor
    history: list[dict[str, Any]]

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain values."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "totals": self.totals,
            "network": self.network.state_dict(),
            "average": self.average.model.state_dict(),
            "average_steps": self.average.steps,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
            "random": random_state(self.device),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a ``state``."""
        self.epoch, self.step = state["epoch"], state["step"]
        self.totals = state["totals"].to(self.device)
        self.network.load_state_dict(state["network"])
        self.average.model.load_state_dict(state["average"])
        self.average.steps = state["average_steps"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.history = state["history"]
        restore_random_state(state["random"], self.device)


class ChoosingState(TrainingState):
    """The same of a trainer that may choose an epoch.

    ``best`` holds the averaged weights of the epoch with the lowest ``best_loss``, None while no
    epoch was chosen.
    """

    best: dict[str, Tensor] | None
    best_loss: float

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights and running statistics that are kept."""
        return self.average.model.state_dict() if self.best is None else self.best

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain values."""
        return {**super().state(), "best": self.best, "best_loss": self.best_loss}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a ``state``."""
        super().restore(state)
        self.best, self.best_loss = state["best"], state["best_loss"]

    def keep_if_best(self, choice: float | None) -> bool:
        """Keep the average where ``choice`` is the lowest loss so far; say whether it was."""
        if choice is None or not choice < self.best_loss:
            return False
        self.best_loss = choice
        kept = self.average.model.state_dict()
        self.best = {name: value.detach().cpu().clone() for name, value in kept.items()}
        return True
