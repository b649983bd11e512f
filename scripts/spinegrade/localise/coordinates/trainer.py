"""One fold of a regressor in training."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.localise.coordinates.network import dtype_of
from spinegrade.localise.coordinates.settings import Settings
from spinegrade.runtime.seeds import generator, stream_seed
from spinegrade.training.average import MovingAverage
from spinegrade.training.checkpoint import Checkpoint
from spinegrade.training.log import TrainingLog
from spinegrade.training.precision import autocast
from spinegrade.training.read_ahead import ReadAhead
from spinegrade.training.state import ChoosingState

_LOGGER = logging.getLogger("spinegrade")


class Task(Protocol):
    """What is learnt: samples that are read by their places, and losses of a network on them.

    ``parts`` names the losses; a batch is parted down to ``least`` samples, which the statistics
    of batch norm need.
    """

    parts: tuple[str, ...]
    least: int

    def __len__(self) -> int: ...
    def build_network(self) -> nn.Module: ...  # noqa: D102
    def read(self, chosen: NDArray[np.int64]) -> Any: ...  # noqa: D102
    def losses(  # noqa: D102
        self, network: nn.Module, batch: Any, device: torch.device, draws: torch.Generator | None
    ) -> Tensor: ...


def rate_at(step: int, warm_up: float, total: float, cycles: float) -> float:
    """The learning rate's share at optimiser step ``step`` (from 0): linear rise, then cosine.

    As transformers' get_cosine_schedule_with_warmup: 0 at step 0, 1 after ``warm_up`` steps, then
    (1 + cos(2 pi cycles t)) / 2 with t from 0 to 1 at ``total`` steps.
    """
    if step < warm_up:
        return step / max(1.0, warm_up)
    progress = (step - warm_up) / max(1.0, total - warm_up)
    return max(0.0, 0.5 * (1.0 + math.cos(2.0 * math.pi * cycles * progress)))


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters that decay and, as published, biases (by name) that do not."""
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    return [
        {"params": [p for n, p in named if "bias" not in n], "weight_decay": weight_decay},
        {"params": [p for n, p in named if "bias" in n], "weight_decay": 0.0},
    ]


class RegressorTrainer(ChoosingState):
    """Trains on ``task``; ``choosing`` is the task whose loss picks the epoch, if any.

    ``weights`` are what is kept in the end: the moving average of weights and running statistics,
    of the last epoch or of the one with the lowest ``choice_loss``. ``history`` has a row an
    epoch. Every epoch's order and every step's draws come from streams of their own, so that a
    run resumed anywhere goes on bit for bit (on the CPU) as one that was never stopped.
    ``waited_s`` is the time that steps had to wait for volumes to be read.
    """

    def __init__(
        self,
        task: Task,
        settings: Settings,
        fold: int,
        seed: int,
        device: torch.device,
        choosing: Task | None = None,
    ) -> None:
        self.task, self.choosing = task, choosing
        self.settings, self.fold, self.seed, self.device = settings, fold, seed, device
        training = settings.training
        self.epochs = training.epochs
        # Equal parts: a last batch of one sample would spoil the running statistics.
        self.steps = -(-len(task) // training.batch_size)
        self.network = task.build_network().to(device).train()
        self.average = MovingAverage(self.network, training.average_decay)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.network, training.weight_decay),
            lr=training.learning_rate,
            foreach=True,
        )
        self.dtype = dtype_of(settings, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.epoch = 0
        self.step = 0  # steps done of the epoch that is under way
        self.totals = self._no_losses()
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] | None = None
        self.best_loss = float("inf")
        self.waited_s = 0.0

    def run(self, checkpoint: Checkpoint) -> None:
        """Train to the last epoch, from ``checkpoint`` on and keeping it up to date."""
        state = checkpoint.load()
        if state is not None:
            self.restore(state)
        told = f"{self.settings.name}, fold {self.fold}"
        log = TrainingLog(told, self.epochs, self.steps, self.epoch, self.step, checkpoint.path)
        every = self.settings.training.checkpoint_epochs
        for parts in self.batches():
            self.train_step(parts)
            if self.step:
                checkpoint.save_if_due(self.state)
                log.step()
                continue
            row = self.history[-1]
            if self.epoch % every == 0 or self.epoch == self.epochs or checkpoint.is_due():
                checkpoint.save(self.state())
            log.epoch(row["loss"], row["learning_rate"], row["choice_loss"])
        _LOGGER.info("waited %.1f s for volumes to be read", self.waited_s)

    def batches(self) -> Iterator[list[Any]]:
        """The steps' batches that are left, in their parts, each read while one is used."""

        def read(parts: list[NDArray[np.int64]]) -> list[Any]:
            return [self.task.read(part) for part in parts]

        ahead = ReadAhead(read, self._steps_left())
        for batch in ahead:
            self.waited_s = ahead.waited_s
            yield batch

    def train_step(self, parts: list[Any]) -> None:
        """One optimiser step on a batch's ``parts``, and after an epoch's last one what ends it."""
        training, device = self.settings.training, self.device
        if self.step == 0:
            torch.manual_seed(self._stream("dropout", self.epoch))
        rate = training.learning_rate * rate_at(
            self.epoch * self.steps + self.step,
            training.warm_up * self.epochs * self.steps,
            (self.epochs + training.further_epochs) * self.steps,
            training.cycles,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        draws = torch.Generator().manual_seed(self._stream("draws", self.epoch, self.step))
        self.optimiser.zero_grad(set_to_none=True)
        for part in parts:
            with autocast(device, self.dtype):
                losses = self.task.losses(self.network, part, device, draws)
            self.scaler.scale(losses.sum() / len(parts)).backward()
            self.totals += losses.detach() / len(parts)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.average.update(self.network)
        self.step += 1
        if self.step == self.steps:
            self._end_epoch(rate)

    def choice_loss(self) -> float | None:
        """Mean loss of the averaged network on ``choosing``, None where there is none."""
        if self.choosing is None:
            return None
        total = 0.0
        with torch.inference_mode():
            for place in range(len(self.choosing)):
                batch = self.choosing.read(np.array([place]))
                with autocast(self.device, self.dtype):
                    losses = self.choosing.losses(self.average.model, batch, self.device, None)
                total += float(losses.sum())
        return total / len(self.choosing)

    def _steps_left(self) -> Iterator[list[NDArray[np.int64]]]:
        """Places of the samples of each step that is left, in parts, to the last epoch."""
        # It runs ahead of the steps, so that it must count epochs by itself.
        first, skipped = self.epoch, self.step
        wanted = self.settings.training.accumulation
        for epoch in range(first, self.epochs):
            order = generator(self.seed, "regressor_order", *self._names, epoch)
            steps = np.array_split(order.permutation(len(self.task)), self.steps)
            for step in steps[skipped if epoch == first else 0 :]:
                yield np.array_split(step, max(1, min(wanted, len(step) // self.task.least)))

    def _end_epoch(self, rate: float) -> None:
        means = (self.totals / self.steps).tolist()
        choice = self.choice_loss()
        parts = dict(zip(self.task.parts, means, strict=True)) if len(means) > 1 else {}
        self.history.append(
            {"epoch": self.epoch, "learning_rate": rate, "loss": sum(means)}
            | parts
            | {"choice_loss": choice}
        )
        self.keep_if_best(choice)
        self.epoch, self.step, self.totals = self.epoch + 1, 0, self._no_losses()

    @property
    def _names(self) -> tuple[str, int]:
        return self.settings.name, self.fold

    def _stream(self, what: str, *place: int) -> int:
        return stream_seed(self.seed, f"regressor_{what}", *self._names, *place)

    def _no_losses(self) -> Tensor:
        return torch.zeros(len(self.task.parts), device=self.device)
