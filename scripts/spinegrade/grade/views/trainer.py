"""One fold of a grader in training."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.grade.views.looks import training_look
from spinegrade.grade.views.mixing import draw_mixing, mixed
from spinegrade.grade.views.network import build_loss, build_network, dtype_of, logits_of
from spinegrade.grade.views.samples import Batch, Samples
from spinegrade.grade.views.settings import CropShape, Settings
from spinegrade.grader_layout import SIDED_CONDITIONS
from spinegrade.names import CONDITIONS, GRADE_WEIGHTS
from spinegrade.runtime.seeds import generator, stream_seed
from spinegrade.training.average import MovingAverage
from spinegrade.training.checkpoint import Checkpoint
from spinegrade.training.log import TrainingLog
from spinegrade.training.precision import autocast
from spinegrade.training.read_ahead import ReadAhead
from spinegrade.training.state import ChoosingState

_LOGGER = logging.getLogger("spinegrade")


class StepPart(NamedTuple):
    """Rows that go through the network together, and the seed of what reading chooses."""

    rows: NDArray[np.int64]
    seed: int


class GraderTrainer(ChoosingState):
    """Trains on ``samples``; ``choosing`` holds the rows whose score picks the epoch, if any.

    ``weights`` are what is kept in the end: the moving average of weights and running statistics,
    of the last epoch or of the one with the lowest ``choice_loss``. ``history`` has a row an
    epoch: epoch, learning_rate (of its last step), loss, choice_loss. Every epoch's order and every
    step's draws come from streams of their own, so that a run resumed anywhere goes on
    bit for bit (on the CPU) as one that was never stopped.
    """

    def __init__(
        self,
        samples: Samples,
        settings: Settings,
        shapes: Mapping[str, CropShape],
        fold: int,
        seed: int,
        device: torch.device,
        choosing: Samples | None = None,
    ) -> None:
        self.samples, self.choosing = samples, choosing
        self.settings, self.shapes = settings, shapes
        self.fold, self.seed, self.device = fold, seed, device
        training = settings.training
        # Equal parts: a last batch of one row would spoil the running statistics.
        self.steps = -(-len(samples) // training.batch_size)
        self.network = build_network(settings, shapes).to(device).train()
        self.average = MovingAverage(self.network, training.average_decay)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.network, training.weight_decay),
            lr=training.learning_rate,
            foreach=True,
        )
        self.loss = build_loss(settings)
        self.dtype = dtype_of(settings, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.epoch = 0
        self.step = 0  # steps done of the epoch that is under way
        self.totals = torch.zeros((), device=device)  # their losses, each by its number of rows
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] | None = None
        self.best_loss, self.best_epoch = float("inf"), 0

    @property
    def is_done(self) -> bool:
        """Whether the last epoch is done, or ``patience`` has run out."""
        patience = self.settings.training.patience
        waited = self.epoch - self.best_epoch
        tired = self.choosing is not None and patience is not None and waited >= patience
        return self.epoch >= self.settings.training.epochs or (self.step == 0 and tired)

    def run(self, checkpoint: Checkpoint) -> None:
        """Train to the end, from ``checkpoint`` on and keeping it up to date."""
        state = checkpoint.load()
        if state is not None:
            self.restore(state)
        training = self.settings.training
        told = f"{self.settings.name}, fold {self.fold}"
        done = (self.epoch, self.step)
        log = TrainingLog(told, training.epochs, self.steps, *done, checkpoint.path)
        for batches in self.batches():
            self.train_step(batches)
            if self.step:
                checkpoint.save_if_due(self.state)
                log.step()
                continue
            row = self.history[-1]
            if self.epoch % training.checkpoint_epochs == 0 or self.is_done or checkpoint.is_due():
                checkpoint.save(self.state())
            log.epoch(row["loss"], row["learning_rate"], row["choice_loss"])
            if self.is_done:
                break

    def batches(self) -> Iterator[list[Batch]]:
        """What is left, an optimiser step each, read while the step before is done."""
        if not self.is_done:
            yield from ReadAhead(self._read, self._steps())

    def train_step(self, batches: list[Batch]) -> None:
        """One optimiser step, and after an epoch's last one what ends an epoch."""
        training, device = self.settings.training, self.device
        if self.step == 0:
            torch.manual_seed(self._stream("dropout", self.epoch))
        rate = self.learning_rate(self.epoch * self.steps + self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        draws = torch.Generator().manual_seed(self._stream("draws", self.epoch, self.step))
        rows = sum(len(batch.grades) for batch in batches)
        self.optimiser.zero_grad(set_to_none=True)
        for batch in batches:
            loss = self._loss_of(batch.to(device), draws) * (len(batch.grades) / rows)
            self.scaler.scale(loss).backward()
            self.totals += loss.detach() * rows
        if training.gradient_norm is not None:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), training.gradient_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.average.update(self.network)
        self.step += 1
        if self.step == self.steps:
            self._end_epoch(rate)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine of ``cycles``, by optimiser step (counted from 0)."""
        training = self.settings.training
        total = self.steps * (training.schedule_epochs or training.epochs)
        warm = training.warmup * total
        if step < warm:
            return training.learning_rate * min(1.0, (step + 1) / warm)
        done = (step - warm) / max(total - warm, 1)
        return training.learning_rate * 0.5 * (1 + math.cos(2 * math.pi * training.cycles * done))

    def choice_loss(self) -> float | None:
        """``graded_loss`` of the averaged network on ``choosing``, None where there is none.

        Each row is seen once, whatever ``tta`` makes of predictions.
        """
        if self.choosing is None:
            return None
        logits = logits_of(
            *(self.average.model, self.choosing, self.settings),
            *(self.shapes, self.device, self.dtype),
        )
        return graded_loss(logits, self.choosing)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain values."""
        return {**super().state(), "best_epoch": self.best_epoch}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a ``state``."""
        super().restore(state)
        self.best_epoch = state["best_epoch"]

    def _loss_of(self, batch: Batch, draws: torch.Generator) -> Tensor:
        inputs = training_look(batch, self.settings, self.shapes, draws)
        mixing = draw_mixing(self.settings.augment, self.epoch, len(batch.grades), draws)
        with autocast(self.device, self.dtype):
            logits = self.network(**(mixed(inputs, mixing) if mixing else inputs))
        logits = logits.flatten(1, -2)
        loss = self.loss(logits, batch.grades)
        if mixing is None:
            return loss
        other = self.loss(logits, batch.grades[mixing.partner.to(self.device)])
        return mixing.share * loss + (1 - mixing.share) * other

    def _read(self, parts: list[StepPart]) -> list[Batch]:
        found = [self.samples.read(part.rows, part.seed) for part in parts]
        return [batch.pinned() for batch in found] if self.device.type == "cuda" else found

    def _steps(self) -> Iterator[list[StepPart]]:
        """The rows of each step that is left, from here to the last epoch."""
        # It runs ahead of the steps, so that it must count epochs by itself.
        first, skipped = self.epoch, self.step
        accumulate = self.settings.training.accumulate
        for epoch in range(first, self.settings.training.epochs):
            order = generator(self.seed, "two_stage_order", *self._names, epoch)
            steps = np.array_split(order.permutation(len(self.samples)), self.steps)
            for step in range(skipped if epoch == first else 0, self.steps):
                parts = np.array_split(steps[step], min(accumulate, len(steps[step])))
                yield [
                    StepPart(rows, self._stream("chosen", epoch, step, place))
                    for place, rows in enumerate(parts)
                ]

    def _end_epoch(self, rate: float) -> None:
        choice = self.choice_loss()
        loss = float(self.totals) / len(self.samples)
        self.history.append(
            {"epoch": self.epoch, "learning_rate": rate, "loss": loss, "choice_loss": choice}
        )
        self.epoch, self.step = self.epoch + 1, 0
        self.totals = torch.zeros((), device=self.device)
        if self.keep_if_best(choice):
            self.best_epoch = self.epoch

    @property
    def _names(self) -> tuple[str, int]:
        return self.settings.name, self.fold

    def _stream(self, what: str, *place: int) -> int:
        return stream_seed(self.seed, f"two_stage_{what}", *self._names, *place)


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """All parameters; those that are biases, of recurrent layers too, do not decay."""
    named = [(name.rpartition(".")[2], p) for name, p in network.named_parameters()]
    return [
        {"params": [p for n, p in named if not n.startswith("bias")], "weight_decay": weight_decay},
        {"params": [p for n, p in named if n.startswith("bias")], "weight_decay": 0.0},
    ]


def graded_loss(logits: NDArray[np.float64], samples: Samples) -> float:
    """Mean over the conditions of the weighted log loss of what is graded, as the metric has it.

    ``logits`` (n, C, 3). The competition's further part, any-severe, is left out: it needs whole
    studies. NaN where nothing is graded.
    """
    shifted = logits - logits.max(axis=2, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True))
    graded = samples.grades >= 0
    grades = samples.grades[graded]
    losses = -logs[graded][np.arange(len(grades)), grades]
    weights = np.asarray(GRADE_WEIGHTS)[grades]
    condition = np.array([CONDITIONS.index(name) for name, _ in SIDED_CONDITIONS])
    of_cell = condition[samples.places()[..., 0][graded]]
    parts = [np.average(losses[of_cell == c], weights=weights[of_cell == c])
             for c in np.unique(of_cell)]  # fmt: skip
    return float(np.mean(parts)) if parts else float("nan")
