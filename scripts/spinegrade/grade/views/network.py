"""The network of a grader of views: built from its settings, and asked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from spinegrade.grade.views.looks import LOOKS, mirrored_columns, plain_look
from spinegrade.grade.views.samples import Samples
from spinegrade.grade.views.settings import CropShape, Settings
from spinegrade.models.registry import build as build_model
from spinegrade.training.task import Moment


def build_network(settings: Settings, shapes: Mapping[str, CropShape]) -> nn.Module:
    """The untrained network, its backbone's weights as ``encoder.pretrained`` says."""
    return build_model(settings.architecture, **settings.network_options(shapes))


@torch.inference_mode()
def logits_of(
    network: nn.Module,
    samples: Samples,
    settings: Settings,
    shapes: Mapping[str, CropShape],
    at: Moment,
    tta: str = "none",
) -> NDArray[np.float64]:
    """Logits (n, C, 3) of all rows, the mean over the looks of ``tta``.

    ``network`` in evaluation mode.
    """
    parts, size = [], settings.training.batch_size
    for start in range(0, len(samples), size):
        batch = samples.read(np.arange(start, min(start + size, len(samples)))).to(at.device)
        looks = []
        for look in LOOKS[tta]:
            with at.autocast():
                logits = network(**plain_look(batch, settings, shapes, look))
            columns = mirrored_columns(settings, logits) if look == "mirrored" else logits
            looks.append(columns.flatten(1, -2).double())
        parts.append(torch.stack(looks).mean(dim=0).cpu().numpy())
    return np.concatenate(parts)
