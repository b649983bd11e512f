"""Where regressors predict points: their mean, in px of the frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from spinegrade.localise.coordinates.augment import as_seen, plain
from spinegrade.localise.coordinates.coordinates import from_targets
from spinegrade.localise.coordinates.network import settings_of_model
from spinegrade.localise.coordinates.samples import Look, image_of
from spinegrade.training.precision import autocast, dtype_of
from spinegrade.training.record import FoldModel


def regress(models: Sequence[FoldModel], looks: Sequence[Look]) -> NDArray[np.float64]:
    """The mean over ``models`` of the points of each look, (n, P, K) in px of the frame.

    A third coordinate is the slice as a share of the stack's slices.
    """
    settings, device = settings_of_model(models[0]), models[0].device
    dtype = dtype_of(settings.plan(models[0].fold), device)
    found = []
    with torch.inference_mode():
        for look in looks:
            images = torch.from_numpy(image_of(settings, look)[None]).to(device)
            seen = as_seen(plain(images), settings.image_px)
            with autocast(device, dtype):
                told = [model.network(seen).double() for model in models]
            points = [from_targets(one, settings)[0] for one in told]
            found.append(torch.stack(points).mean(dim=0).cpu().numpy())
    return np.stack(found)
