"""A regressor's network: built from its settings, stored with what it has seen, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from spinegrade.errors import SpinegradeError
from spinegrade.localise.coordinates.settings import LEVELS, Settings, settings_from_plain
from spinegrade.models.registry import build
from spinegrade.runtime.files import atomic_path
from spinegrade.training.precision import usable_dtype

# One key: the order of several in the file is not the same from run to run.
_HEADER = "spinegrade"


@dataclass(frozen=True)
class Seen:
    """What a regressor's weights come from.

    ``trained_on``: the studies that it learnt from; ``chosen_on``: those whose loss chose the
    epoch, none where that is the last one. ``code`` is the fingerprint of the code.
    """

    fold: int
    code: str
    trained_on: tuple[str, ...]
    chosen_on: tuple[str, ...]


@dataclass(frozen=True)
class Regressor:
    """A fold's network in evaluation mode, the settings that it was trained by, what it saw."""

    network: nn.Module
    settings: Settings
    seen: Seen
    device: torch.device
    path: str

    @property
    def fold(self) -> int:
        """The fold that it did not learn from."""
        return self.seen.fold

    @property
    def refused(self) -> set[str]:
        """The studies that it may not look at: published choices are named as such."""
        chosen = () if self.settings.select == "published" else self.seen.chosen_on
        return {*self.seen.trained_on, *chosen}


def build_network(settings: Settings) -> nn.Module:
    """The untrained network, its backbone's weights as ``pretrained`` says."""
    options: dict[str, Any] = {
        key: getattr(settings, key) for key in ("backbone", "image_px", "pretrained")
    }
    if settings.kind == LEVELS:
        return build(settings.architecture, attention=settings.attention, **options)
    return build(
        settings.architecture,
        channels=len(settings.channels),
        points=len(settings.cells),
        coordinates=settings.of_kind.coordinates,
        **options,
    )


def dtype_of(settings: Settings, device: torch.device) -> torch.dtype:
    """The number format of the device's heavy arithmetic."""
    training = settings.training
    on_cuda = device.type == "cuda"
    return usable_dtype(training.precision_cuda if on_cuda else training.precision_cpu, device)


def save_regressor(
    path: str | Path, weights: Mapping[str, Tensor], settings: Settings, seen: Seen
) -> None:
    """Write ``weights`` with settings and what they come from as .safetensors, atomically."""
    record = {**vars(seen), "trained_on": sorted(seen.trained_on)}
    record["chosen_on"] = sorted(seen.chosen_on)
    header = json.dumps({"settings": settings.as_dict(), "seen": record}, sort_keys=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {_HEADER: header})


def load_regressor(path: str | Path, name: str, device: torch.device) -> Regressor:
    """The regressor ``name`` as ``save_regressor`` wrote it, in evaluation mode.

    Raises SpinegradeError for a file that cannot be read, does not say what it was trained on, or
    is another regressor's.
    """
    try:
        with safe_open(path, "pt") as file:
            header: dict[str, Any] = json.loads((file.metadata() or {})[_HEADER])
        seen = {k: tuple(v) if isinstance(v, list) else v for k, v in header["seen"].items()}
        settings = settings_from_plain(header["settings"])
        # Whatever it was trained from is in the file: no pretrained weights are looked up.
        network = build_network(replace(settings, pretrained=None))
        network.load_state_dict(load_file(path))
        record = Seen(**seen)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise SpinegradeError(
            f"{path}: no regressor of this version ({error}); remove it and run train_regressor"
        ) from error
    if settings.name != name:
        raise SpinegradeError(
            f"{path}: holds regressor {settings.name!r}, expected {name!r}; train it again"
        )
    return Regressor(network.to(device).eval(), settings, record, device, str(path))
