"""Training one fold of a classifier."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from spinegrade.errors import SpinegradeError
from spinegrade.grade.cells.batches import BatchMaker
from spinegrade.grade.cells.cells import Cells, log_prior, loss_weights
from spinegrade.grade.cells.network import (
    build_network,
    precision_of,
    predict_cells,
    save_network,
)
from spinegrade.grade.cells.settings import CropShape, Settings
from spinegrade.losses.registry import build as build_loss
from spinegrade.runtime.files import atomic_path
from spinegrade.runtime.seeds import stream_seed
from spinegrade.runtime.torch_setup import prepare
from spinegrade.training.average import MovingAverage
from spinegrade.training.checkpoint import Checkpoint, training_parts
from spinegrade.training.log import TrainingLog
from spinegrade.training.precision import autocast
from spinegrade.training.state import TrainingState

_LOGGER = logging.getLogger("spinegrade")


def split_cells(cells: Cells, fold: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the graded cells to train on (other folds) and of those held out.

    New studies (no fold) are in neither. Raises SpinegradeError when either is empty.
    """
    of_fold = cells.table["fold"].to_numpy(float, na_value=np.nan)
    graded = cells.table["grade"].notna().to_numpy() & np.isfinite(of_fold)
    inside = np.flatnonzero(graded & (of_fold != fold))
    outside = np.flatnonzero(graded & (of_fold == fold))
    for what, found in (("to train on", inside), ("held out", outside)):
        if not len(found):
            counts = cells.table.groupby("fold")["study"].nunique().to_dict()
            raise SpinegradeError(
                f"fold {fold} has no graded cell with a crop {what}; studies with crops by fold: "
                f"{counts}; lower cohort.folds or look into why studies have no crops"
            )
    return inside, outside


def weighted_losses(
    probabilities: NDArray[np.float64], table: pd.DataFrame
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Log loss (n,) and weight (n,) of each graded cell of ``table``."""
    grades = table["grade"].to_numpy(int)
    chosen = probabilities[np.arange(len(grades)), grades]
    return -np.log(np.clip(chosen, 1e-15, 1.0)), loss_weights(table)


class Trainer(TrainingState):
    """One fold of a classifier in training; ``run`` trains it to the end.

    All draws of an epoch come from streams named by the epoch, and a state holds how far they
    are, so that a run resumed anywhere goes on bit for bit as one that was never stopped.
    """

    def __init__(
        self,
        settings: Settings,
        shapes: Mapping[str, CropShape],
        cells: Cells,
        fold: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.settings, self.fold, self.seed, self.device = settings, fold, seed, device
        self.inside, self.outside = split_cells(cells, fold)
        self.cells = cells
        table = cells.table.iloc[self.inside]
        self.grades = torch.from_numpy(table["grade"].to_numpy(np.int64)).to(device)
        self.weights = torch.from_numpy(loss_weights(table)).to(device)
        self.maker = BatchMaker(cells, settings, device)
        network = build_network(settings, shapes, log_prior(table)).to(device)
        self.network = network.to(memory_format=torch.channels_last)
        self.average = MovingAverage(network, settings.ema_decay)
        self.optimiser = torch.optim.AdamW(
            _parameter_groups(network, settings.weight_decay),
            lr=settings.learning_rate,
            foreach=True,
        )
        self.dtype = precision_of(settings, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.loss = build_loss(settings.loss)
        self.steps_an_epoch = math.ceil(len(self.inside) / settings.batch_size)
        self.draws = torch.Generator(device)
        self.epoch = 0
        self.step = 0  # steps done of the epoch that is under way
        self.totals = torch.zeros((), device=device)  # their losses, each by its number of cells
        self.history: list[dict[str, float]] = []

    @property
    def trained_on(self) -> list[str]:
        """The studies whose labels this fold learns from, sorted."""
        return sorted(self.cells.table["study"].iloc[self.inside].unique())

    def run(self, checkpoint: Checkpoint) -> None:
        """Train to the last epoch, from ``checkpoint`` on and keeping it up to date."""
        state = checkpoint.load()
        if state is not None:
            self.restore(state)
        name, epochs = f"{self.settings.name}, fold {self.fold}", self.settings.epochs
        done = (self.epoch, self.step)
        log = TrainingLog(name, epochs, self.steps_an_epoch, *done, checkpoint.path)

        def after_step() -> None:
            if self.step < self.steps_an_epoch:
                checkpoint.save_if_due(self.state)
                log.step()

        while self.epoch < epochs:
            row = self.train_epoch(after_step)
            checkpoint.save(self.state())
            log.epoch(row["train_loss"], row["learning_rate"], row["held_out_loss"])

    def train_epoch(self, after_step: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """The steps that are left of one pass over the training cells; its row of the history."""
        stream = stream_seed(self.seed, self.settings.name, self.fold, "epoch", self.epoch)
        if self.step == 0:
            torch.manual_seed(stream)
            self.draws.manual_seed(stream)
            self.totals = torch.zeros((), device=self.device)
        order = np.random.default_rng(stream).permutation(len(self.inside))
        self.network.train()
        # Equal parts: a last batch of one crop would spoil the running statistics.
        for part in np.array_split(order, self.steps_an_epoch)[self.step :]:
            rate = self.learning_rate(self.epoch * self.steps_an_epoch + self.step)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            batch = self.maker.make(self.inside[part], self.settings.augmentation, self.draws)
            with autocast(self.device, self.dtype):
                logits = self.network(*batch)
            chosen = torch.from_numpy(part).to(self.device)
            loss = self.loss(logits, self.grades[chosen], self.weights[chosen])
            self.optimiser.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.scaler.step(self.optimiser)
            self.scaler.update()
            self.average.update(self.network)
            self.totals += loss.detach() * len(part)
            self.step += 1
            after_step()
        self.epoch, self.step = self.epoch + 1, 0
        row = {
            "epoch": self.epoch,
            "learning_rate": rate,
            "train_loss": float(self.totals) / len(self.inside),
            "held_out_loss": self.held_out_loss() if self._validates() else None,
        }
        self.history.append(row)
        return row

    def held_out_loss(self) -> float:
        """Mean over the conditions of the weighted log loss on the held-out fold.

        For the history alone: it neither stops training nor chooses an epoch.
        """
        probabilities = predict_cells(self.average.model, self.maker, self.outside, self.dtype)
        losses, weights = weighted_losses(probabilities, self.cells.table.iloc[self.outside])
        return float((losses * weights).mean())

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to nought, by optimiser step."""
        total = self.steps_an_epoch * self.settings.epochs
        warm = self.settings.warmup * total
        if step < warm:
            return self.settings.learning_rate * (step + 1) / (warm + 1)
        done = (step - warm) / max(total - warm, 1)
        return self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain values."""
        return {**super().state(), "draws": self.draws.get_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a ``state``."""
        super().restore(state)
        self.draws.set_state(state["draws"])

    def _validates(self) -> bool:
        last = self.epoch == self.settings.epochs
        return last or self.epoch % self.settings.validate_every == 0


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and the scales of normalisations (one axis) do not."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def digest_of(cells: Cells, chosen: NDArray[np.int64]) -> str:
    """Fingerprint of the cells at the places ``chosen`` and of all that is known of their crops."""
    table = cells.table.iloc[chosen]
    digest = hashlib.sha256(table.to_csv(index=False).encode())
    for name, store in cells.stores.items():
        rows = cells.rows[name][chosen]
        digest.update(f"{name} {store.shape}".encode() + rows.tobytes())
        rows = rows[rows >= 0]
        for array in (store.flips_x, store.shift_px, store.shift_slices):
            digest.update(array[rows].tobytes())
        # A few at a time: all of them need not fit into memory.
        for start in range(0, len(rows), 256):
            digest.update(store.take(rows[start : start + 256]))
    return digest.hexdigest()


def train_fold(
    settings: Settings,
    shapes: Mapping[str, CropShape],
    cells: Cells,
    fold: int,
    weights: Path,
    history: Path,
    checkpoint: Path,
    seed: int,
    threads: int,
    device: str = "auto",
    code: str = "",
    checkpoint_minutes: float = 5.0,
) -> None:
    """Train one fold and write its (averaged) ``weights`` and its ``history``.

    It goes on from ``checkpoint`` where that is of this same training, saves it at each epoch's
    end and at least every ``checkpoint_minutes``, and removes it once both stand. ``code`` is the
    fingerprint of the code.
    """
    place = prepare(stream_seed(seed, settings.name, fold), threads, device)
    trainer = Trainer(settings, shapes, cells, fold, seed, place)
    precision = str(trainer.dtype).removeprefix("torch.")
    parts = training_parts(
        code=code,
        settings={**settings.as_dict(), "fold": fold, "seed": seed},
        data=digest_of(cells, np.concatenate([trainer.inside, trainer.outside])),
        math_threads=threads,
        device=place,
        precision=precision,
    )
    _LOGGER.info(
        "%d cells of %d studies to learn from, %d held out; %s, %s",
        *(len(trainer.inside), len(trainer.trained_on), len(trainer.outside), place, precision),
    )
    kept = Checkpoint(checkpoint, parts, checkpoint_minutes)
    with kept:
        trainer.run(kept)
    save_network(weights, trainer.average.model, fold, trainer.trained_on)
    with atomic_path(history) as temporary:
        pd.DataFrame(trainer.history).to_csv(temporary, index=False)
    kept.remove()
