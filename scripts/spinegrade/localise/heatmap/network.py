"""The network of a detector: built from its settings, fed, and stored with all that it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from spinegrade.localise.heatmap.offsets import Offsets
from spinegrade.localise.heatmap.steps import Steps
from spinegrade.models.registry import build
from spinegrade.runtime.files import atomic_path
from spinegrade.targets import TARGETS

# A file's header keeps one key, since several come out in no fixed order.
HEADER = "spinegrade"


def normalised(images: Tensor) -> Tensor:
    """Images of 0 .. 1 as the networks take them, about zero mean and unit spread."""
    images = (images - 0.3) / 0.25
    return images.contiguous(memory_format=torch.channels_last)


def build_network(settings: Mapping[str, Any]) -> nn.Module:
    """The untrained network of a detector's config block."""
    target = TARGETS[settings["target"]]
    options = dict(settings["architecture"])
    network = build(
        options.pop("name"),
        in_channels=settings["grid"]["slices"],
        points=len(target.points),
        slices=settings["grid"]["slices"] if target.plane == "sagittal" else 0,
        **options,
    )
    return network.to(memory_format=torch.channels_last)


def save_detector(
    path: str | Path,
    weights: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    steps: Steps | None,
    offsets: Offsets,
    provenance: Mapping[str, Any],
) -> None:
    """Write weights with all else that a detector needs, and provenance, in the file's header."""
    header = {
        "settings": settings,
        "steps": steps.to_lists() if steps else None,
        "offsets": offsets,
        "provenance": provenance,
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {HEADER: json.dumps(header, sort_keys=True)})
