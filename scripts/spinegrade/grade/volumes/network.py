"""A one-stage network: built from its settings, stored with what it has seen, read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from spinegrade.errors import SpinegradeError
from spinegrade.grade.volumes.settings import Settings
from spinegrade.losses.registry import build as build_registered_loss
from spinegrade.models.registry import build as build_model
from spinegrade.training.precision import usable_dtype
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

    network: str
    target: str
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


def build_network(settings: Settings) -> nn.Module:
    """The untrained network, its encoder's weights as ``encoder.pretrained`` says."""
    return build_model(settings.architecture, **settings.network_options)


def build_loss(settings: Settings) -> Callable[..., dict[str, Tensor]]:
    """The loss: (output, points, known, grades, lengths) to its parts by name."""
    return build_registered_loss(settings.loss, **settings.loss_options)


def dtype_of(settings: Settings, device: torch.device) -> torch.dtype:
    """The number format of the device's heavy arithmetic."""
    training = settings.training
    on_cuda = device.type == "cuda"
    return usable_dtype(training.precision_cuda if on_cuda else training.precision_cpu, device)


def save_network(path: str | Path, weights: Mapping[str, Tensor], seen: Seen) -> None:
    """Write ``weights`` and what they come from as .safetensors, atomically."""
    save_weights(path, weights, vars(seen))


def load_network(
    path: str | Path, settings: Settings, device: torch.device
) -> tuple[nn.Module, Seen]:
    """The stored network in evaluation mode, and what its weights come from.

    Raises SpinegradeError for a file that cannot be read, that does not say what it was trained
    on, that is of another network or target, or whose epoch was chosen in another way.
    """
    tensors, record = read_weights(path)
    try:
        seen = Seen(**record)
    except TypeError as error:
        raise without_record(path) from error
    wanted = (settings.name, settings.target, settings.select)
    if (seen.network, seen.target, seen.select) != wanted:
        raise SpinegradeError(
            f"{path}: weights of (network, target, select) "
            f"{(seen.network, seen.target, seen.select)}, expected {wanted}; train it again"
        )
    # Whatever it was trained from is in the file: no pretrained weights are looked up.
    bare = replace(settings, encoder={**settings.encoder, "pretrained": None})
    network = build_network(bare)
    fill_network(network, tensors, path, f"network {settings.name}")
    return network.to(device).eval(), seen
