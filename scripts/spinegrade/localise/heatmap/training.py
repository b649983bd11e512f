"""Training of one detector on the studies outside one fold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from spinegrade.errors import SpinegradeError
from spinegrade.localise.heatmap.augment import Strength, augment
from spinegrade.localise.heatmap.network import build_network, normalised, save_detector
from spinegrade.localise.heatmap.offsets import fit_offsets
from spinegrade.localise.heatmap.samples import Samples, training_samples
from spinegrade.localise.heatmap.steps import fit_steps
from spinegrade.losses.registry import build as build_loss
from spinegrade.runtime.files import write_text
from spinegrade.runtime.seeds import generator, stream_seed
from spinegrade.runtime.torch_setup import prepare
from spinegrade.tables import read_table, read_tables
from spinegrade.targets import TARGETS
from spinegrade.training.checkpoint import (
    Checkpoint,
    random_state,
    restore_random_state,
    training_parts,
)
from spinegrade.training.log import TrainingLog
from spinegrade.training.precision import has_bfloat16
from spinegrade.volumes import load_stacks

# No times: a history is the same however often its training was stopped.
_HISTORY = ("epoch", "loss", "loss_in_plane", "loss_slices", "learning_rate")
# Settings that say when a checkpoint is saved, not what is learnt.
_NO_RESULT = {"checkpoint_epochs"}


def training_studies(studies: pd.DataFrame, folds: pd.DataFrame, fold: int) -> list[str]:
    """Training studies without a problem that lie outside ``fold``, sorted."""
    usable = studies[(studies["split"] == "train") & studies["problem"].isna()]["study"]
    outside = folds[folds["fold"] != fold]["study"]
    return sorted(set(usable) & set(outside))


def train_keypoints(
    *,
    name: str,
    fold: int,
    detector: Mapping[str, Any],
    studies_path: str,
    folds_path: str,
    stacks_paths: Sequence[str],
    landmarks_paths: Sequence[str],
    weights_path: str,
    history_path: str,
    checkpoint_path: str,
    code: str,
    seed: int,
    math_threads: int,
    device: str,
    checkpoint_minutes: float,
) -> None:
    """Train the detector ``name`` on the studies outside ``fold`` and write its weights.

    It goes on from the checkpoint where that is of this same training, saves one at least every
    ``checkpoint_minutes``, and removes it once weights and history stand. Raises SpinegradeError
    where no study is left to train on.
    """
    chosen = prepare(stream_seed(seed, "keypoints", name, fold) % 2**32, math_threads, device)
    studies = training_studies(
        read_table(studies_path, "studies"), read_table(folds_path, "folds"), fold
    )
    landmarks = read_tables(list(landmarks_paths), "located_landmarks")
    samples = training_samples(detector, load_stacks(stacks_paths), landmarks, studies)
    if not len(samples):
        raise SpinegradeError(
            f"detector {name}, fold {fold}: none of the {len(studies)} training studies has both a "
            f"series and landmarks for {detector['target']} points; check "
            "train_label_coordinates.csv and the rejected tables, or use fewer folds"
        )
    trainer = DetectorTrainer(samples, detector, (name, fold), seed, chosen)
    learning = {k: v for k, v in detector["training"].items() if k not in _NO_RESULT}
    parts = training_parts(
        code=code,
        settings={**detector, "training": learning, "name": name, "fold": fold, "seed": seed},
        data=digest_of(samples),
        math_threads=math_threads,
        device=chosen,
        precision=trainer.precision,
    )
    checkpoint = Checkpoint(checkpoint_path, parts, checkpoint_minutes)
    with checkpoint:
        trainer.run(checkpoint)
    target = TARGETS[detector["target"]]
    steps = None
    if target.plane == "sagittal":
        grid = detector["grid"]
        unit_mm = (grid["pixel_mm"], grid["pixel_mm"], grid["slice_mm"])
        steps = fit_steps(samples.points, samples.known, target.chains, unit_mm)
    provenance = {
        "detector": name,
        "fold": fold,
        "code": code,
        "studies": len(set(samples.studies)),
    }
    offsets = fit_offsets(landmarks, studies)
    save_detector(weights_path, trainer.average, detector, steps, offsets, provenance)
    history = pd.DataFrame(trainer.history, columns=list(_HISTORY))
    write_text(history_path, history.to_csv(index=False))
    checkpoint.remove()


def digest_of(samples: Samples) -> str:
    """Fingerprint of all that a training learns from."""
    digest = hashlib.sha256(repr((samples.images.shape, samples.studies)).encode())
    for array in (samples.images, samples.points, samples.known):
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


class DetectorTrainer:
    """One fold of a detector in training; ``run`` trains it to the end.

    ``average`` holds the weights that are kept: an exponential average of the last ones; no epoch
    is picked by its loss. ``history`` has a row of ``_HISTORY`` an epoch. All draws of an epoch
    come from streams named by the epoch, so that a run resumed anywhere goes on bit for bit as
    one that was never stopped.
    """

    def __init__(
        self,
        samples: Samples,
        detector: Mapping[str, Any],
        stream: tuple[str, int],
        seed: int,
        device: torch.device,
    ) -> None:
        self.detector, self.stream, self.seed, self.device = detector, stream, seed, device
        training, grid = detector["training"], detector["grid"]
        self.network = build_network(detector).to(device).train()
        self.steps = -(-len(samples) // training["batch_size"])
        self.epochs: int = training["epochs"]
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=training["learning_rate"],
            weight_decay=training["weight_decay"],
            foreach=True,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            max_lr=training["learning_rate"],
            total_steps=self.steps * self.epochs,
            pct_start=0.15,
            cycle_momentum=False,
        )
        self.loss = build_loss(
            training["loss"],
            sigma_px=training["sigma_mm"] / (grid["pixel_mm"] * self.network.stride),
            sigma_slices=training["sigma_slices"],
        )
        strength = {k: v for k, v in detector["augmentation"].items() if k != "margin_px"}
        self.strength = Strength(**strength)
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.images = torch.from_numpy(samples.images).to(device)
        self.points = torch.from_numpy(samples.points).to(device)
        self.known = torch.from_numpy(samples.known).to(device)
        wanted = training[f"precision_{device.type}"]
        self.precision = wanted if has_bfloat16(device) else "float32"
        self.draws = torch.Generator()
        self.losses: list[list[float]] = []  # of the steps done of the epoch that is under way
        self.history: list[list[float]] = []

    def run(self, checkpoint: Checkpoint) -> None:
        """Train to the last epoch, from ``checkpoint`` on and keeping it up to date."""
        state = checkpoint.load()
        if state is not None:
            self.restore(state)
        told = f"{self.stream[0]}, fold {self.stream[1]}"
        done = (len(self.history), len(self.losses))
        log = TrainingLog(told, self.epochs, self.steps, *done, checkpoint.path)
        every = self.detector["training"]["checkpoint_epochs"]
        while (epoch := len(self.history)) < self.epochs:
            order = generator(self.seed, "keypoints_order", *self.stream, epoch)
            parts = np.array_split(order.permutation(len(self.images)), self.steps)
            if not self.losses:
                seed = stream_seed(self.seed, "keypoints_draws", *self.stream, epoch)
                self.draws.manual_seed(seed)
            for part in parts[len(self.losses) :]:
                self.losses.append(self._step(torch.from_numpy(part).to(self.device)))
                self.schedule.step()
                self._average(epoch * self.steps + len(self.losses))
                if len(self.losses) < self.steps:
                    checkpoint.save_if_due(self.state)
                    log.step()
            in_plane, slices = np.mean(self.losses, axis=0).tolist()
            rate = self.schedule.get_last_lr()[0]
            self.history.append([epoch, in_plane + slices, in_plane, slices, rate])
            self.losses = []
            if (epoch + 1) % every == 0 or epoch + 1 == self.epochs or checkpoint.is_due():
                checkpoint.save(self.state())
            log.epoch(in_plane + slices, rate)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": self.average,
            "losses": self.losses,
            "history": self.history,
            "draws": self.draws.get_state(),
            "random": random_state(self.device),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a ``state``."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.average = {key: value.to(self.device) for key, value in state["average"].items()}
        self.losses = state["losses"]
        self.history = state["history"]
        self.draws.set_state(state["draws"])
        restore_random_state(state["random"], self.device)

    def _step(self, chosen: Tensor) -> list[float]:
        """One optimiser step on the ``chosen`` samples; losses in the plane and along slices."""
        grid = self.detector["grid"]
        target = TARGETS[self.detector["target"]]
        batch = augment(
            self.images[chosen],
            self.points[chosen],
            self.known[chosen],
            strength=self.strength,
            plane=target.plane,
            mirror=target.mirror,
            size=(grid["rows"], grid["cols"]),
            pixel_mm=grid["pixel_mm"],
            slice_mm=grid["slice_mm"],
            generator=self.draws,
        )
        half = self.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            found = self.network(normalised(batch.images))
        in_plane, slices = self.loss(
            found.in_plane.float(),
            None if found.slices is None else found.slices.float(),
            batch.points,
            batch.known,
            stride=self.network.stride,
        )
        self.optimiser.zero_grad(set_to_none=True)
        (in_plane + slices).backward()
        limit = self.detector["training"]["clip_norm"]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit, foreach=True)
        self.optimiser.step()
        return [float(in_plane.detach()), float(slices.detach())]

    def _average(self, step: int) -> None:
        """Move the averaged weights towards the network's, faster while there are few steps."""
        share = 1 - min(self.detector["training"]["average_decay"], step / (step + 10))
        for key, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, share)
            else:
                self.average[key].copy_(value)
