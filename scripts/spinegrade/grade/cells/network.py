"""The network of a grader of cells: built from its settings or its weights, and asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.grade.cells.batches import BatchReader
from spinegrade.grade.cells.settings import CropShape, Settings
from spinegrade.models.registry import build as build_model
from spinegrade.training.task import Moment


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


def network_of_weights(
    settings: Settings, shapes: Mapping[str, CropShape], weights: Mapping[str, Tensor]
) -> nn.Module:
    """The grader that ``weights`` are of; whatever it was trained from is in them."""
    return build_network(replace(settings, pretrained=None), shapes, weights["prior"].numpy())


@torch.inference_mode()
def predict_cells(
    network: nn.Module,
    reader: BatchReader,
    chosen: NDArray[np.int64],
    shapes: dict[str, CropShape],
    at: Moment,
    settings: Settings,
    test_draws: int = 0,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Probabilities (n, 3) of the cells at the places ``chosen``, the mean over looks.

    Looks: as cropped and, for central cells, mirrored, plus ``test_draws`` that are shifted by the
    localiser's measured error.
    """
    draws = torch.Generator().manual_seed(seed)
    central = reader.cells.table["side"].to_numpy()[chosen] == "central"
    everywhere = np.ones(len(chosen), bool)
    looks = [(everywhere, None, False), (central, None, True)]
    looks += [(everywhere, settings.augmentation, False)] * test_draws
    total = np.zeros((len(chosen), 3))
    size = 4 * settings.batch_size
    for where, augmentation, mirror in looks:
        places = np.flatnonzero(where)
        for start in range(0, len(places), size):
            part = places[start : start + size]
            stored = reader.read(chosen[part])
            with at.autocast():
                logits = network(*stored.seen(shapes, at.device, augmentation, draws, mirror))
            total[part] += logits.double().softmax(dim=1).cpu().numpy()
    return total / total.sum(axis=1, keepdims=True)
