"""A trained localiser: its network with the settings and steps that it needs to find points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.localise.heatmap.offsets import Offsets
from spinegrade.localise.heatmap.settings import Settings
from spinegrade.localise.heatmap.steps import Steps
from spinegrade.models.registry import build
from spinegrade.regions.region import Target
from spinegrade.training.record import FoldModel


def normalised(images: Tensor) -> Tensor:
    """Images of 0 .. 1 as the networks take them, about zero mean and unit spread."""
    images = (images - 0.3) / 0.25
    return images.contiguous(memory_format=torch.channels_last)


def build_network(settings: Settings) -> nn.Module:
    """The untrained network of a localiser."""
    network = build(
        settings.model_name,
        in_channels=settings.grid["slices"],
        points=len(settings.target.points),
        slices=settings.grid["slices"] if settings.target.plane == "sagittal" else 0,
        **settings.model,
    )
    return network.to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Detector:
    """The ``model`` of a fold, ``steps`` and ``offsets`` as measured on its training studies."""

    model: FoldModel
    settings: Settings
    steps: Steps | None
    offsets: Offsets

    @classmethod
    def of(cls, model: FoldModel, settings: Settings) -> Detector:
        """The localiser of a stored model."""
        extra: Mapping[str, Any] = model.record.extra
        steps = Steps.from_lists(extra["steps"]) if extra["steps"] else None
        return cls(model, settings, steps, extra["offsets"])

    @property
    def network(self) -> nn.Module:
        """The network, in evaluation mode."""
        return self.model.network

    @property
    def target(self) -> Target:
        """What it looks for."""
        return self.settings.target

    @property
    def fold(self) -> int:
        """The fold that it did not learn from."""
        return self.model.fold

    @property
    def refused(self) -> set[str]:
        """The studies that it may not look at."""
        return self.model.refused

    @property
    def path(self) -> str:
        """Where its weights lie."""
        return self.model.path

    def probabilities(
        self, images: NDArray[np.uint8], batch_size: int = 16
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Heatmaps (n, P, rows, cols) and, for sagittal localisers, slices (n, P, S).

        ``images`` uint8 (n, slices, rows, cols). Both sum to one for each point, and are the mean
        over the image and its left/right mirror.
        """
        # Sagittal grids are mirrored by their slices' order, axial ones by their columns'.
        sagittal = self.target.plane == "sagittal"
        exchange = list(self.target.mirror)
        in_plane, slices = [], []
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                part = torch.from_numpy(images[start : start + batch_size]).to(self.model.device)
                part = part.float() / 255.0
                found = self._softmax(part)
                other = self._softmax(part.flip(1 if sagittal else 3))
                heatmaps = other[0][:, exchange]
                heatmaps = heatmaps if sagittal else heatmaps.flip(3)
                in_plane.append(((found[0] + heatmaps) / 2).cpu().numpy())
                if found[1] is not None and other[1] is not None:
                    along = (found[1] + other[1][:, exchange].flip(2)) / 2
                    slices.append(along.cpu().numpy())
        return np.concatenate(in_plane), np.concatenate(slices) if slices else None

    def _softmax(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        found = self.network(normalised(images))
        in_plane = found.in_plane.double()
        in_plane = in_plane.flatten(2).softmax(dim=2).view(in_plane.shape)
        return in_plane, None if found.slices is None else found.slices.double().softmax(dim=2)
