"""A grader's network: built from its settings, stored with what it has seen, read back, asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.errors import SpinegradeError
from spinegrade.grade.views.looks import LOOKS, mirrored_columns, plain_look
from spinegrade.grade.views.samples import Samples
from spinegrade.grade.views.settings import CropShape, Settings
from spinegrade.losses.registry import build as build_registered_loss
from spinegrade.models.registry import build as build_model
from spinegrade.training.precision import autocast, usable_dtype
from spinegrade.training.weights_file import (
    fill_network,
    read_weights,
    save_weights,
    without_record,
)


@dataclass(frozen=True)
class Seen:
    """What a network's weights come from.

    ``trained_on``: the studies that it learnt from; ``chosen_on``: those whose score chose the
    epoch, none where that is the last one. ``code`` is the fingerprint of the code.
    """

    grader: str
    architecture: str
    fold: int
    select: str
    code: str
    trained_on: tuple[str, ...]
    chosen_on: tuple[str, ...]

    @property
    def refused(self) -> set[str]:
        """The studies that the network may not predict: published choices are named as such."""
        chosen = () if self.select == "published" else self.chosen_on
        return {*self.trained_on, *chosen}


def build_network(settings: Settings, shapes: Mapping[str, CropShape]) -> nn.Module:
    """The untrained network, its backbone's weights as ``encoder.pretrained`` says."""
    return build_model(settings.architecture, **settings.network_options(shapes))


def build_loss(settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss: (logits (B, C, 3), grades (B, C)) to a mean."""
    training = settings.training
    return build_registered_loss(training.loss, grade_weights=tuple(training.grade_weights))


def dtype_of(settings: Settings, device: torch.device) -> torch.dtype:
    """The number format of the device's heavy arithmetic."""
    training = settings.training
    on_cuda = device.type == "cuda"
    return usable_dtype(training.precision_cuda if on_cuda else training.precision_cpu, device)


def save_network(path: str | Path, weights: Mapping[str, Tensor], seen: Seen) -> None:
    """Write ``weights`` and what they come from as .safetensors, atomically."""
    save_weights(path, weights, vars(seen))


def load_network(
    path: str | Path, settings: Settings, shapes: Mapping[str, CropShape], device: torch.device
) -> tuple[nn.Module, Seen]:
    """The stored network in evaluation mode, and what its weights come from.

    Raises SpinegradeError for a file that cannot be read, that does not say what it was trained
    on, that is of another grader or architecture, or whose epoch was chosen in another way.
    """
    tensors, record = read_weights(path)
    try:
        seen = Seen(**record)
    except TypeError as error:
        raise without_record(path) from error
    wanted = (settings.name, settings.architecture, settings.select)
    if (seen.grader, seen.architecture, seen.select) != wanted:
        raise SpinegradeError(
            f"{path}: weights of (grader, architecture, select) "
            f"{(seen.grader, seen.architecture, seen.select)}, expected {wanted}; train it again"
        )
    # Whatever it was trained from is in the file: no pretrained weights are looked up.
    other = settings.axial_encoder and {**settings.axial_encoder, "pretrained": None}
    own = {**settings.encoder, "pretrained": None}
    bare = replace(settings, encoder=own, axial_encoder=other)
    network = build_network(bare, shapes)
    fill_network(network, tensors, path, f"grader {settings.name}")
    return network.to(device).eval(), seen


@torch.inference_mode()
def logits_of(
    network: nn.Module,
    samples: Samples,
    settings: Settings,
    shapes: Mapping[str, CropShape],
    device: torch.device,
    dtype: torch.dtype,
    tta: str = "none",
) -> NDArray[np.float64]:
    """Logits (n, C, 3) of all rows, the mean over the looks of ``tta``.

    ``network`` in evaluation mode.
    """
    parts = []
    for rows in _parts(len(samples), settings.training.batch_size):
        batch = samples.read(rows).to(device)
        looks = []
        for look in LOOKS[tta]:
            with autocast(device, dtype):
                logits = network(**plain_look(batch, settings, shapes, look))
            columns = mirrored_columns(settings, logits) if look == "mirrored" else logits
            looks.append(columns.flatten(1, -2).double())
        parts.append(torch.stack(looks).mean(dim=0).cpu().numpy())
    return np.concatenate(parts)


def _parts(count: int, size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
