"""The one engine: any kind's ``Task``, trained by a ``Plan``, resumed bit for bit."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.training.average import MovingAverage
from spinegrade.training.batch_statistics import freeze_statistics
from spinegrade.training.checkpoint import Checkpoint, random_state, restore_random_state
from spinegrade.training.log import TrainingLog
from spinegrade.training.optimise import learning_rate, optimiser_of
from spinegrade.training.pinned import pinned
from spinegrade.training.plan import STATISTICS, Plan, Stage
from spinegrade.training.precision import dtype_of
from spinegrade.training.read_ahead import ReadAhead
from spinegrade.training.streams import Streams
from spinegrade.training.task import Moment, Task

_LOGGER = logging.getLogger("spinegrade")


class Outcome(NamedTuple):
    """``weights`` and running statistics to predict with; ``history`` with a row an epoch."""

    weights: dict[str, Tensor]
    history: list[dict[str, Any]]


class _Part(NamedTuple):
    """Samples of one step that go through the network together, and the seed of their reading."""

    rows: NDArray[np.int64]
    seed: int


class Training:
    """One fold in training.

    What predicts is the moving average of weights and running statistics: that of the last epoch
    or, where there is a ``choosing`` task, of the epoch with its lowest ``choice``. ``watching`` is
    measured for the history alone. A row of the history: epoch (from 0), learning_rate (of its last
    step), loss (weighed), the parts where more than one, choice_loss, and held_out_loss where
    something is watched. Every epoch's order and every step's draws come from ``streams`` of their
    own, so that a run resumed anywhere goes on bit for bit (on the CPU) as one that was never
    stopped. ``epoch`` and ``step`` count what is done.
    """

    def __init__(
        self,
        task: Task,
        plan: Plan,
        streams: Streams,
        device: torch.device,
        choosing: Task | None = None,
        watching: Task | None = None,
    ) -> None:
        self.task, self.choosing, self.watching = task, choosing, watching
        self.plan, self.streams, self.device = plan, streams, device
        # Equal parts: a last batch of one sample would spoil the running statistics.
        self.steps = -(-len(task) // plan.batch_size)
        self.network = task.network().to(device).train()
        self.average = MovingAverage(self.network, plan.average_decay)
        self.optimiser = optimiser_of(self.network, plan)
        self.dtype = dtype_of(plan, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.epoch = 0
        self.step = 0  # of the epoch that is under way
        self.totals = self._no_losses()  # of these steps, each by its number of samples
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] | None = None
        self.best_loss, self.best_epoch = float("inf"), 0
        self.waited_s = 0.0
        self._trainable = [p for p in self.network.parameters() if p.requires_grad]
        self._entered: Stage | None = None

    @property
    def is_done(self) -> bool:
        """Whether the last epoch is done, or ``patience`` has run out."""
        patience, waited = self.plan.patience, self.epoch - self.best_epoch
        tired = self.choosing is not None and patience is not None and waited >= patience
        return self.epoch >= self.plan.all_epochs or (self.step == 0 and tired)

    def run(self, checkpoint: Checkpoint) -> Outcome:
        """Train to the end, from ``checkpoint`` on and keeping it up to date."""
        state = checkpoint.load()
        if state is not None:
            self.restore(state)
        told = f"{self.streams.name}, fold {self.streams.fold}"
        done = (self.epoch, self.step)
        log = TrainingLog(told, self.plan.all_epochs, self.steps, *done, checkpoint.path)
        for batches in self.batches():
            self.train_step(batches)
            if self.step:
                checkpoint.save_if_due(self.state)
                log.step()
                continue
            row, due = self.history[-1], self.epoch % self.plan.checkpoint_epochs == 0
            if due or self.is_done or checkpoint.is_due():
                checkpoint.save(self.state())
            measured = (row["choice_loss"], row.get("held_out_loss"))
            held_out = next((value for value in measured if value is not None), None)
            log.epoch(row["loss"], row["learning_rate"], held_out)
            if self.is_done:
                break
        _LOGGER.info("waited %.1f s for samples to be read", self.waited_s)
        return Outcome(self.weights, self.history)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights and running statistics that are kept."""
        return self.average.model.state_dict() if self.best is None else self.best

    def batches(self) -> Iterator[list[tuple[int, Any]]]:
        """The steps that are left, in parts with their numbers of samples, each read ahead."""
        if self.is_done:
            return
        ahead = ReadAhead(self._read, self._steps_left())
        for batches in ahead:
            self.waited_s = ahead.waited_s
            yield batches

    def train_step(self, batches: list[tuple[int, Any]]) -> None:
        """One optimiser step, and after an epoch's last one what ends an epoch."""
        stage = self.plan.stage_of(self.epoch)
        if self.step == 0:
            torch.manual_seed(self.streams.of("dropout", self.epoch))
        if stage != self._entered:
            self._enter(stage)
        rate = learning_rate(self.plan, self.steps, self.epoch, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        draws = torch.Generator().manual_seed(self.streams.of("draws", self.epoch, self.step))
        at = Moment(self.device, self.dtype, self.epoch, draws)
        count = sum(rows for rows, _ in batches)
        self.optimiser.zero_grad(set_to_none=True)
        for rows, batch in batches:
            losses = self.task.losses(self.network, batch, at)
            loss = self._weighed(losses.unbind(), stage) * (rows / count)
            self.scaler.scale(loss).backward()
            self.totals += losses.detach() * rows
        if stage.gradient_norm is not None:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), stage.gradient_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.average.update(self.network)
        self.step += 1
        if self.step == self.steps:
            self._end_epoch(rate, stage)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.model.state_dict(),
            "average_steps": self.average.steps,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": random_state(self.device),
            "totals": self.totals,
            **{name: getattr(self, name) for name in _KEPT},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a ``state``."""
        self.network.load_state_dict(state["network"])
        self.average.model.load_state_dict(state["average"])
        self.average.steps = state["average_steps"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.totals = state["totals"].to(self.device)
        for name in _KEPT:
            setattr(self, name, state[name])
        restore_random_state(state["random"], self.device)

    def _enter(self, stage: Stage) -> None:
        """Freeze what ``stage`` freezes and nothing else; a resumed run does so again."""
        frozen = STATISTICS in stage.frozen
        if frozen and self.step == 0 and self._begins(self.epoch):
            self.network.load_state_dict(self.average.model.state_dict())
        self.network.train()
        for parameter in self._trainable:
            parameter.requires_grad_(True)
        for name in stage.frozen:
            if name != STATISTICS:
                self.network.freeze(name)
        if frozen:
            freeze_statistics(self.network)
        self._entered = stage

    def _begins(self, epoch: int) -> bool:
        """Whether statistics, frozen in ``epoch``, were not in the epoch before."""
        return epoch == 0 or STATISTICS not in self.plan.stage_of(epoch - 1).frozen

    def _read(self, parts: list[_Part]) -> list[tuple[int, Any]]:
        found = [(len(part.rows), self.task.read(part.rows, part.seed)) for part in parts]
        if self.device.type == "cuda":
            return [(rows, pinned(batch)) for rows, batch in found]
        return found

    def _steps_left(self) -> Iterator[list[_Part]]:
        """The samples of each step that is left, from here to the last epoch."""
        # It runs ahead of the steps, so that it must count epochs by itself.
        first, skipped = self.epoch, self.step
        for epoch in range(first, self.plan.all_epochs):
            order = self.streams.order(epoch).permutation(len(self.task))
            steps = np.array_split(order, self.steps)
            for step in range(skipped if epoch == first else 0, self.steps):
                parts = min(self.plan.accumulation, len(steps[step]) // self.task.least)
                yield [
                    _Part(rows, self.streams.of("chosen", epoch, step, place))
                    for place, rows in enumerate(np.array_split(steps[step], max(1, parts)))
                ]

    def _end_epoch(self, rate: float, stage: Stage) -> None:
        means = (self.totals / len(self.task)).tolist()
        choice = self._missed(self.choosing)
        row = {"epoch": self.epoch, "learning_rate": rate, "loss": self._weighed(means, stage)}
        if len(means) > 1:
            row |= dict(zip(self.task.parts, means, strict=True))
        row["choice_loss"] = choice
        self.epoch, self.step, self.totals = self.epoch + 1, 0, self._no_losses()
        if choice is not None and choice < self.best_loss:
            kept = self.average.model.state_dict()
            self.best = {name: value.detach().cpu().clone() for name, value in kept.items()}
            self.best_loss, self.best_epoch = choice, self.epoch
        if self.watching is not None:
            due = self.is_done or self.epoch % (self.plan.validate_every or 1) == 0
            row["held_out_loss"] = self._missed(self.watching) if due else None
        self.history.append(row)

    def _missed(self, task: Task | None) -> float | None:
        if task is None:
            return None
        with torch.inference_mode():
            return task.choice(self.average.model, Moment(self.device, self.dtype, self.epoch))

    def _weighed(self, parts: Any, stage: Stage) -> Any:
        """The sum of the loss's ``parts``, tensors or numbers, by their weights in ``stage``."""
        weights = stage.part_weights or self.plan.part_weights
        if weights is None:
            return sum(parts)
        return sum(
            weights.get(name, 1.0) * p for name, p in zip(self.task.parts, parts, strict=True)
        )

    def _no_losses(self) -> Tensor:
        return torch.zeros(len(self.task.parts), device=self.device)


# Plain parts of the state.
_KEPT = ("epoch", "step", "history", "best", "best_loss", "best_epoch")
