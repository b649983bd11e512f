"""The network of a grader of cells, and what it says of them, seen in one way or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from spinegrade.crop_shape import CropShape
from spinegrade.grade.cells.batches import BatchReader
from spinegrade.grade.cells.settings import Settings
from spinegrade.models.registry import build as build_model
from spinegrade.training.task import Moment


def build_network(
    settings: Settings,
    shapes: Mapping[str, CropShape],
    prior: NDArray[np.float32],
    pretrained: str | None = None,
) -> nn.Module:
    """The untrained grader; ``prior`` (conditions, levels, 3) as of ``cells.log_prior``."""
    return build_model(
        "cell_grader",
        architecture=settings.model_name,
        encoder=settings.encoder_options(pretrained),
        views=settings.heads,
        shapes={name: (shapes[name].slices, shapes[name].rows) for name in settings.roi_sets},
        share_encoder=settings.share_encoder,
        prior=torch.from_numpy(prior),
    )


@torch.inference_mode()
def predict_cells(
    network: nn.Module,
    reader: BatchReader,
    chosen: NDArray[np.int64],
    shapes: dict[str, CropShape],
    at: Moment,
    settings: Settings,
    looks: Sequence[str] = ("plain", "mirrored"),
    seed: int = 0,
) -> NDArray[np.float64]:
    """Probabilities (n, 3) of the cells at the places ``chosen``, the mean over ``looks``.

    plain: as cropped; mirrored: in a mirror, central cells alone; jittered: moved by the
    localiser's measured error, drawn from ``seed``.
    """
    draws = torch.Generator().manual_seed(seed)
    central = reader.cells.table["side"].to_numpy()[chosen] == "central"
    everywhere = np.ones(len(chosen), bool)
    ways = {
        "plain": (everywhere, None, False),
        "mirrored": (central, None, True),
        "jittered": (everywhere, settings.augmentation, False),
    }
    total = np.zeros((len(chosen), 3))
    size = 4 * settings.training["batch_size"]
    for where, augmentation, mirror in (ways[look] for look in looks):
        places = np.flatnonzero(where)
        for start in range(0, len(places), size):
            part = places[start : start + size]
            stored = reader.read(chosen[part])
            with at.autocast():
                logits = network(*stored.seen(shapes, at.device, augmentation, draws, mirror))
            total[part] += logits.double().softmax(dim=1).cpu().numpy()
    return total / total.sum(axis=1, keepdims=True)
