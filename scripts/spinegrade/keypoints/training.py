"""Training of one detector on the studies outside one fold."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from spinegrade.errors import SpinegradeError
from spinegrade.keypoints.augment import Strength, augment
from spinegrade.keypoints.checkpoint import Checkpoint
from spinegrade.keypoints.decode import fit_steps
from spinegrade.keypoints.detector import build_network, normalised, save_detector
from spinegrade.keypoints.levels import fit_offsets
from spinegrade.keypoints.losses import point_losses
from spinegrade.keypoints.samples import Samples, training_samples
from spinegrade.keypoints.targets import TARGETS
from spinegrade.runtime.files import write_text
from spinegrade.runtime.progress import Progress
from spinegrade.runtime.seeds import generator, stream_seed
from spinegrade.runtime.torch_setup import prepare
from spinegrade.tables import read_table, read_tables
from spinegrade.volumes import load_stacks

_LOGGER = logging.getLogger("spinegrade")
_HISTORY = ("epoch", "loss", "loss_in_plane", "loss_slices", "learning_rate", "seconds")


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
) -> None:
    """Train the detector ``name`` on the studies outside ``fold`` and write its weights.

    Raises SpinegradeError where no study is left to train on.
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
    settings = json.dumps([detector, name, fold, seed, math_threads], sort_keys=True)
    content = hashlib.sha256(settings.encode() + code.encode())
    content.update(samples.images.tobytes() + samples.points.tobytes())
    checkpoint = Checkpoint(checkpoint_path, content.hexdigest())
    weights, history = fit(samples, detector, (name, fold), seed, chosen, checkpoint)
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
    save_detector(weights_path, weights, detector, steps, offsets, provenance)
    write_text(history_path, pd.DataFrame(history, columns=list(_HISTORY)).to_csv(index=False))
    checkpoint.remove()


def fit(
    samples: Samples,
    detector: Mapping[str, Any],
    stream: tuple[str, int],
    seed: int,
    device: torch.device,
    checkpoint: Checkpoint,
) -> tuple[dict[str, Tensor], list[list[float]]]:
    """Run the epochs; returns the averaged weights and one row of ``_HISTORY`` an epoch.

    The weights are an exponential average of the last ones; no epoch is picked by its loss. Draws
    come from a stream of their own for each epoch, so that a resumed run draws the same.
    """
    training = detector["training"]
    network = build_network(detector).to(device).train()
    steps = -(-len(samples) // training["batch_size"])
    optimiser = torch.optim.AdamW(
        network.parameters(),
        lr=training["learning_rate"],
        weight_decay=training["weight_decay"],
        foreach=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=training["learning_rate"],
        total_steps=steps * training["epochs"],
        pct_start=0.15,
        cycle_momentum=False,
    )
    average = {key: value.detach().clone() for key, value in network.state_dict().items()}
    history: list[list[float]] = []
    state = checkpoint.load()
    if state is not None:
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        average = {key: value.to(device) for key, value in state["average"].items()}
        history = state["history"]
        _LOGGER.info("going on after epoch %d of %d", len(history), training["epochs"])
    images = torch.from_numpy(samples.images).to(device)
    points = torch.from_numpy(samples.points).to(device)
    known = torch.from_numpy(samples.known).to(device)
    counter = Progress(f"Training {stream[0]}, fold {stream[1]}: epochs", training["epochs"])
    counter.done = len(history)
    for epoch in range(len(history), training["epochs"]):
        began = time.monotonic()
        order = generator(seed, "keypoints_order", *stream, epoch).permutation(len(samples))
        draws = torch.Generator().manual_seed(stream_seed(seed, "keypoints_draws", *stream, epoch))
        losses = []
        for part in np.array_split(order, steps):
            chosen = torch.from_numpy(part).to(device)
            batch = (images[chosen], points[chosen], known[chosen])
            losses.append(_step(network, optimiser, detector, batch, draws))
            schedule.step()
            _average(average, network, training["average_decay"], epoch * steps + len(losses))
        in_plane, slices = np.mean(losses, axis=0).tolist()
        rate = schedule.get_last_lr()[0]
        seconds = round(time.monotonic() - began, 3)
        history.append([epoch, in_plane + slices, in_plane, slices, rate, seconds])
        counter.step(note=f"loss {in_plane + slices:.3f}")
        if (epoch + 1) % training["checkpoint_epochs"] == 0 and epoch + 1 < training["epochs"]:
            checkpoint.save(
                {
                    "network": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "schedule": schedule.state_dict(),
                    "average": average,
                    "history": history,
                }
            )
    return average, history


def _step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    detector: Mapping[str, Any],
    sample: tuple[Tensor, Tensor, Tensor],
    draws: torch.Generator,
) -> list[float]:
    """One optimiser step on a batch; returns the losses in the plane and along the slices."""
    grid, training = detector["grid"], detector["training"]
    target = TARGETS[detector["target"]]
    strength = dict(detector["augmentation"])
    strength.pop("margin_px", None)
    batch = augment(
        *sample,
        strength=Strength(**strength),
        plane=target.plane,
        mirror=target.mirror,
        size=(grid["rows"], grid["cols"]),
        pixel_mm=grid["pixel_mm"],
        slice_mm=grid["slice_mm"],
        generator=draws,
    )
    device = batch.images.device
    half = training[f"precision_{device.type}"] == "bfloat16" and _has_bfloat16(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        found = network(normalised(batch.images))
    in_plane, slices = point_losses(
        found.in_plane.float(),
        None if found.slices is None else found.slices.float(),
        batch,
        stride=network.stride,
        sigma_px=training["sigma_mm"] / (grid["pixel_mm"] * network.stride),
        sigma_slices=training["sigma_slices"],
    )
    optimiser.zero_grad(set_to_none=True)
    (in_plane + slices).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), training["clip_norm"], foreach=True)
    optimiser.step()
    return [float(in_plane.detach()), float(slices.detach())]


def _has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself; emulated it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public question for this one.
    return torch.cpu._is_avx512_bf16_supported()


def _average(average: dict[str, Tensor], network: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards the network's, faster while there are few steps."""
    share = 1 - min(decay, step / (step + 10))
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            average[key].lerp_(value, share)
        else:
            average[key].copy_(value)
