"""The network of a classifier: built from settings, stored, read back, run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from spinegrade.errors import SpinegradeError
from spinegrade.grade.cells.batches import BatchMaker
from spinegrade.grade.cells.settings import CropShape, Settings
from spinegrade.models.registry import build as build_model
from spinegrade.training.precision import autocast, usable_dtype
from spinegrade.training.weights_file import (
    fill_network,
    read_weights,
    save_weights,
    without_record,
)


def build_network(
    settings: Settings, shapes: Mapping[str, CropShape], prior: NDArray[np.float32]
) -> nn.Module:
    """The untrained grader; ``prior`` (conditions, levels, 3) as of ``cells.log_prior``."""
    return build_model(
        "cell_grader",
        architecture=settings.architecture,
        encoder=settings.encoder_options,
        views=settings.heads,
        shapes={name: (shapes[name].slices, shapes[name].pixels) for name in settings.roi_sets},
        share_encoder=settings.share_encoder,
        prior=torch.from_numpy(prior),
    )


def save_network(path: Path, network: nn.Module, fold: int, trained_on: list[str]) -> None:
    """Write weights with the fold and the studies that they were trained on, atomically."""
    save_weights(path, network.state_dict(), {"fold": fold, "trained_on": trained_on})


def load_network(
    path: Path, settings: Settings, shapes: Mapping[str, CropShape], device: torch.device
) -> tuple[nn.Module, int, set[str]]:
    """The stored grader ready to predict, its fold, and the studies it was trained on.

    Raises SpinegradeError for weights of another network or without that record.
    """
    tensors, record = read_weights(path)
    if not {"fold", "trained_on"} <= record.keys():
        raise without_record(path)
    if "prior" not in tensors:
        raise SpinegradeError(
            f"{path}: not the weights of classifier {settings.name}: no prior in it; train it again"
        )
    # Whatever it was trained from is in the file: no pretrained weights are looked up.
    bare = replace(settings, pretrained=None)
    network = build_network(bare, shapes, tensors["prior"].numpy())
    fill_network(network, tensors, path, f"classifier {settings.name}")
    network = network.to(device, memory_format=torch.channels_last).eval()
    return network, record["fold"], set(record["trained_on"])


def precision_of(settings: Settings, device: torch.device) -> torch.dtype:
    """The number format of the device's heavy arithmetic; bfloat16 only where it is native."""
    on_cuda = device.type == "cuda"
    return usable_dtype(settings.precision_cuda if on_cuda else settings.precision_cpu, device)


@torch.inference_mode()
def predict_cells(
    network: nn.Module,
    maker: BatchMaker,
    chosen: NDArray[np.int64],
    dtype: torch.dtype,
    draws: int = 0,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Probabilities (n, 3) of the cells at the places ``chosen``, the mean over looks.

    Looks: as cropped and, for central cells, mirrored, plus ``draws`` that are shifted by
    the detector's measured error.
    """
    settings, device = maker.settings, maker.device
    generator = torch.Generator(device).manual_seed(seed)
    central = maker.cells.table["side"].to_numpy()[chosen] == "central"
    everywhere = np.ones(len(chosen), bool)
    looks = [(everywhere, None, False), (central, None, True)]
    looks += [(everywhere, settings.augmentation, False)] * draws
    total = np.zeros((len(chosen), 3))
    size = 4 * settings.batch_size
    for where, augmentation, mirror in looks:
        places = np.flatnonzero(where)
        for start in range(0, len(places), size):
            part = places[start : start + size]
            with autocast(device, dtype):
                logits = network(*maker.make(chosen[part], augmentation, generator, mirror))
            total[part] += logits.double().softmax(dim=1).cpu().numpy()
    return total / total.sum(axis=1, keepdims=True)
