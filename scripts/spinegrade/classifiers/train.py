"""Training one fold of a classifier."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from spinegrade.classifiers.average import MovingAverage
from spinegrade.classifiers.batches import BatchMaker
from spinegrade.classifiers.cells import Cells, log_prior, loss_weights
from spinegrade.classifiers.checkpoint import fingerprint_of, load_checkpoint, save_checkpoint
from spinegrade.classifiers.network import (
    autocast,
    build_network,
    precision_of,
    predict_cells,
    save_network,
)
from spinegrade.classifiers.settings import CropShape, Settings
from spinegrade.errors import SpinegradeError
from spinegrade.runtime.files import atomic_path
from spinegrade.runtime.progress import Progress
from spinegrade.runtime.seeds import stream_seed
from spinegrade.runtime.torch_setup import prepare

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


class Trainer:
    """One fold of a classifier in training; ``run`` trains it to the end.

    All draws of an epoch come from streams named by the epoch, so that a run resumed at an
    epoch's end goes on bit for bit as one that was never stopped.
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
        self.steps_an_epoch = math.ceil(len(self.inside) / settings.batch_size)
        self.epoch = 0
        self.history: list[dict[str, float]] = []

    @property
    def trained_on(self) -> list[str]:
        """The studies whose labels this fold learns from, sorted."""
        return sorted(self.cells.table["study"].iloc[self.inside].unique())

    def run(self, checkpoint: Path | None = None, fingerprint: str = "") -> None:
        """Train to the last epoch, resuming from ``checkpoint`` and keeping it up to date."""
        if checkpoint is not None:
            state = load_checkpoint(checkpoint, fingerprint, self.device)
            if state is not None:
                self.restore(state)
                _LOGGER.info("resumed after epoch %d of %s", self.epoch, checkpoint)
        name = f"{self.settings.name} fold {self.fold}"
        counter = Progress(f"training {name}", self.settings.epochs - self.epoch)
        while self.epoch < self.settings.epochs:
            row = self.train_epoch()
            if checkpoint is not None:
                save_checkpoint(checkpoint, fingerprint, self.state())
            held_out = row["held_out_loss"]
            note = f"loss {row['train_loss']:.3f}"
            counter.step(note=note + ("" if held_out is None else f", held out {held_out:.3f}"))

    def train_epoch(self) -> dict[str, Any]:
        """One pass over the training cells; returns its row of the history."""
        stream = stream_seed(self.seed, self.settings.name, self.fold, "epoch", self.epoch)
        torch.manual_seed(stream)
        draws = torch.Generator(self.device).manual_seed(stream)
        order = np.random.default_rng(stream).permutation(len(self.inside))
        self.network.train()
        total = torch.zeros((), device=self.device)
        # Equal parts: a last batch of one crop would spoil the running statistics.
        for number, part in enumerate(np.array_split(order, self.steps_an_epoch)):
            rate = self.learning_rate(self.epoch * self.steps_an_epoch + number)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            batch = self.maker.make(self.inside[part], self.settings.augmentation, draws)
            with autocast(self.device, self.dtype):
                logits = self.network(*batch)
            loss = self.loss(logits, torch.from_numpy(part).to(self.device))
            self.optimiser.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.scaler.step(self.optimiser)
            self.scaler.update()
            self.average.update(self.network)
            total += loss.detach() * len(part)
        self.epoch += 1
        row = {
            "epoch": self.epoch,
            "learning_rate": rate,
            "train_loss": float(total) / len(order),
            "held_out_loss": self.held_out_loss() if self._validates() else None,
        }
        self.history.append(row)
        return row

    def loss(self, logits: Tensor, part: Tensor) -> Tensor:
        """Mean weighted log loss of a batch; the weights' mean over the training set is 1."""
        losses = functional.cross_entropy(logits, self.grades[part], reduction="none")
        return (losses * self.weights[part]).mean()

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
        return {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "average": self.average.model.state_dict(),
            "average_steps": self.average.steps,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a ``state``."""
        self.network.load_state_dict(state["network"])
        self.average.model.load_state_dict(state["average"])
        self.average.steps = state["average_steps"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch = state["epoch"]
        self.history = state["history"]

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
) -> None:
    """Train one fold and write its (averaged) ``weights`` and its ``history``.

    ``checkpoint`` is removed once both stand. ``code`` is the fingerprint of the code; with
    other code, settings, data or threads a checkpoint is not taken up.
    """
    place = prepare(stream_seed(seed, settings.name, fold), threads, device)
    trainer = Trainer(settings, shapes, cells, fold, seed, place)
    graded = cells.table.iloc[trainer.inside]
    digest = int(pd.util.hash_pandas_object(graded, index=False).sum())
    fingerprint = fingerprint_of(settings.as_dict(), code, digest, threads, str(place), seed)
    _LOGGER.info(
        "%d cells of %d studies to learn from, %d held out; %s, %s",
        *(len(trainer.inside), len(trainer.trained_on), len(trainer.outside), place),
        str(trainer.dtype).removeprefix("torch."),
    )
    trainer.run(checkpoint, fingerprint)
    with atomic_path(history) as temporary:
        pd.DataFrame(trainer.history).to_csv(temporary, index=False)
    save_network(weights, trainer.average.model, fold, trainer.trained_on)
    checkpoint.unlink(missing_ok=True)
