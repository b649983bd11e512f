"""One fold of a one-stage network in training."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.grade.volumes.answers import look
from spinegrade.grade.volumes.augment import augment
from spinegrade.grade.volumes.augmentation import augmentation_of
from spinegrade.grade.volumes.flip import exchange_sides
from spinegrade.grade.volumes.network import build_loss, build_network, dtype_of
from spinegrade.grade.volumes.reading import Packed, read_packed
from spinegrade.grade.volumes.samples import OneStageSamples, mean_shape_of
from spinegrade.grade.volumes.settings import Settings
from spinegrade.names import GRADE_WEIGHTS
from spinegrade.runtime.seeds import generator, stream_seed
from spinegrade.training.average import MovingAverage
from spinegrade.training.batch_statistics import freeze_statistics
from spinegrade.training.checkpoint import Checkpoint
from spinegrade.training.log import TrainingLog
from spinegrade.training.precision import autocast
from spinegrade.training.read_ahead import ReadAhead
from spinegrade.training.state import ChoosingState

_LOGGER = logging.getLogger("spinegrade")
PARTS = {
    "foraminal": ("heatmap", "points", "grade"),
    "canal": ("heatmap", "points", "slices", "grade"),
}
"""The parts of a target's loss, in the order of the history's columns."""


class OneStageTrainer(ChoosingState):
    """Trains on ``samples``; ``choosing`` holds the samples whose score picks the epoch, if any.

    ``weights`` are what is kept in the end: the moving average of weights and running statistics,
    of the last epoch or of the one with the lowest ``choice_loss``. ``history`` has a row an
    epoch: epoch, learning_rate, loss, its parts (unweighted), choice_loss. Every epoch's order and
    every step's augmentation come from streams of their own, so that a run resumed anywhere goes on
    bit for bit (on the CPU) as one that was never stopped. ``waited_s`` is the time
    that steps had to wait for volumes to be read.
    """

    def __init__(
        self,
        samples: OneStageSamples,
        settings: Settings,
        fold: int,
        seed: int,
        device: torch.device,
        choosing: OneStageSamples | None = None,
    ) -> None:
        self.samples, self.choosing = samples, choosing
        self.settings, self.fold, self.seed, self.device = settings, fold, seed, device
        training = settings.training
        self.epochs = training.epochs_of(fold)
        # Equal parts: a last batch of one volume would spoil the running statistics.
        self.steps = -(-len(samples) // training.batch_size)
        self.augmentation = augmentation_of(
            settings.target, settings.image_px, settings.flip, settings.augmentation
        )
        self.mean_shape = mean_shape_of(samples)
        self.network = build_network(settings).to(device).train()
        self.average = MovingAverage(self.network, training.average_decay)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=training.rate_of(fold, 0),
            weight_decay=training.weight_decay,
            foreach=True,
        )
        self.loss = build_loss(settings)
        self.parts = PARTS[settings.target]
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
        done = (self.epoch, self.step)
        log = TrainingLog(told, self.epochs, self.steps, *done, checkpoint.path)
        every = self.settings.training.checkpoint_epochs
        for packed in self.batches():
            self.train_step(packed)
            if self.step:
                checkpoint.save_if_due(self.state)
                log.step()
                continue
            row = self.history[-1]
            if self.epoch % every == 0 or self.epoch == self.epochs or checkpoint.is_due():
                checkpoint.save(self.state())
            log.epoch(row["loss"], row["learning_rate"], row["choice_loss"])
        _LOGGER.info("waited %.1f s for volumes to be read", self.waited_s)

    def batches(self) -> Iterator[Packed]:
        """The batches that are left, to the last epoch, each read while the one before is used."""
        read = partial(read_packed, self.samples, pinned=self.device.type == "cuda")
        ahead = ReadAhead(read, self._parts())
        for packed in ahead:
            self.waited_s = ahead.waited_s
            yield packed

    def train_step(self, packed: Packed) -> None:
        """One optimiser step, and after an epoch's last one what ends an epoch."""
        training, device = self.settings.training, self.device
        if self.step == 0:
            torch.manual_seed(self._stream("dropout", self.epoch))
            self._begin_epoch()
        self._freeze()
        rate = training.rate_of(self.fold, self.epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        draws = torch.Generator().manual_seed(self._stream("draws", self.epoch, self.step))
        batch = augment(
            packed.slices.to(device, non_blocking=True),
            packed.lengths,
            packed.points,
            packed.known,
            settings=self.augmentation,
            mean_shape=self.mean_shape,
            generator=draws,
        )
        with autocast(device, self.dtype):
            output = self.network(batch.slices, packed.lengths)
        mirror, flip = self.augmentation.mirror, self.augmentation.flip
        grades = exchange_sides(packed.grades.to(device), batch.reversed, mirror, flip)
        parts = self.loss(output, batch.points, batch.known, grades, packed.lengths)
        losses = torch.stack([parts[name] for name in self.parts])
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(self._weighed(losses.unbind())).backward()
        bound = training.gradient_norm_of(self.fold, self.epoch)
        if bound is not None:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), bound)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.average.update(self.network)
        self.totals += losses.detach() * len(packed.lengths)
        self.step += 1
        if self.step == self.steps:
            self._end_epoch(rate)

    def choice_loss(self) -> float | None:
        """Weighted log loss of the averaged network on ``choosing``, None where there is none.

        Each volume is seen once, whatever ``tta`` makes of predictions.
        """
        if self.choosing is None:
            return None
        once = replace(self.settings, tta="none")
        losses = weights = 0.0
        for place in range(len(self.choosing)):
            packed = read_packed(self.choosing, np.array([place]), False)
            seen = look(
                *(self.average.model, packed.slices, packed.lengths),
                *(once, self.device, self.dtype),
            )
            grades = packed.grades[0].numpy()
            graded = np.flatnonzero(grades >= 0)
            chosen = seen.final.grades[0, graded, grades[graded]]
            weight = np.asarray(GRADE_WEIGHTS)[grades[graded]]
            losses += float((weight * -np.log(np.clip(chosen, 1e-15, 1))).sum())
            weights += float(weight.sum())
        return losses / weights

    def _parts(self) -> Iterator[NDArray[np.int64]]:
        """Places of the samples of each batch that is left, from here to the last epoch."""
        # It runs ahead of the steps, so that it must count epochs by itself.
        first, skipped = self.epoch, self.step
        for epoch in range(first, self.epochs):
            order = generator(self.seed, "one_stage_order", *self._names, epoch)
            parts = np.array_split(order.permutation(len(self.samples)), self.steps)
            yield from parts[skipped if epoch == first else 0 :]

    def _end_epoch(self, rate: float) -> None:
        means = self.totals / len(self.samples)
        loss = self._weighed(means.tolist())
        choice = self.choice_loss()
        self.history.append(
            {"epoch": self.epoch, "learning_rate": rate, "loss": loss}
            | dict(zip(self.parts, means.tolist(), strict=True))
            | {"choice_loss": choice}
        )
        self.keep_if_best(choice)
        self.epoch, self.step, self.totals = self.epoch + 1, 0, self._no_losses()

    def _weighed(self, parts: Sequence[Any]) -> Any:
        """The sum of the loss's ``parts``, tensors or numbers, by their weights in this epoch."""
        weights = self.settings.training.part_weights_of(self.fold, self.epoch)
        return sum(weights[name] * part for name, part in zip(self.parts, parts, strict=True))

    def _begin_epoch(self) -> None:
        training = self.settings.training
        finish = training.finish_of(self.fold, self.epoch)
        first = finish and not (self.epoch and training.finish_of(self.fold, self.epoch - 1))
        if first and finish.frozen_statistics:
            self.network.load_state_dict(self.average.model.state_dict())

    def _freeze(self) -> None:
        """What a finish keeps as it is. At every step, since it is no part of a checkpoint."""
        finish = self.settings.training.finish_of(self.fold, self.epoch)
        if finish and finish.frozen_statistics:
            freeze_statistics(self.network)
        if finish and finish.only_last_block:
            for part in (self.network.encoder, *self.network.decoder[:-1]):
                part.requires_grad_(False)

    @property
    def _names(self) -> tuple[str, int]:
        return self.settings.name, self.fold

    def _stream(self, what: str, *place: int) -> int:
        return stream_seed(self.seed, f"one_stage_{what}", *self._names, *place)

    def _no_losses(self) -> Tensor:
        return torch.zeros(len(self.parts), device=self.device)
