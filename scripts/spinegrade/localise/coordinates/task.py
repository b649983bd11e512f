"""What is learnt by regressing points: batches, and the loss of a network on one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.localise.coordinates.augment import as_seen, augment, plain
from spinegrade.localise.coordinates.coordinates import to_targets
from spinegrade.localise.coordinates.network import build_network
from spinegrade.localise.coordinates.samples import RegressionSamples, image_of
from spinegrade.localise.coordinates.settings import PARTS, Settings
from spinegrade.losses.registry import build as build_loss
from spinegrade.training.task import Moment, mean_loss


class PointBatch(NamedTuple):
    """``images`` uint8 (B, C, D, F, F) on the CPU, ``points`` (B, P, 3), ``known`` (B, P)."""

    images: Tensor
    points: Tensor
    known: Tensor


class PointTask:
    """Points of images or volumes; see ``training.task.Task``."""

    parts = PARTS
    least = 2

    def __init__(self, samples: RegressionSamples, settings: Settings) -> None:
        self.samples, self.settings = samples, settings
        self.studies = samples.studies
        self.loss = build_loss(settings.loss_name, **settings.loss)

    def __len__(self) -> int:
        return len(self.samples)

    def digest(self) -> str:
        """Fingerprint of the samples."""
        return self.samples.digest()

    def network(self) -> nn.Module:
        """The untrained network."""
        return build_network(self.settings, self.settings.encoder["pretrained"])

    def read(self, rows: NDArray[np.int64], seed: int) -> PointBatch:
        """The samples at ``rows``, read from their volumes; nothing is drawn."""
        images = [image_of(self.settings, self.samples.looks[row]) for row in rows]
        return PointBatch(
            torch.from_numpy(np.stack(images)),
            torch.from_numpy(self.samples.points[rows]),
            torch.from_numpy(self.samples.known[rows]),
        )

    def losses(self, network: nn.Module, batch: PointBatch, at: Moment) -> Tensor:
        """The loss (1,); images are varied where there are draws."""
        images, points = batch.images.to(at.device, non_blocking=True), batch.points
        with at.autocast():
            if at.draws is None:
                varied = plain(images)
            else:
                varied, points = augment(images, points, self.settings.augmentation, at.draws)
            found = network(as_seen(varied, self.settings.image_px))
            wanted = to_targets(points, self.settings).to(at.device)
            return self.loss(found.float(), wanted, batch.known.to(at.device))[None]

    def choice(self, network: nn.Module, at: Moment) -> float:
        """The mean loss."""
        return mean_loss(self, network, at)

    def record(self) -> dict[str, Any]:
        """Nothing: what prediction needs is in the settings."""
        return {}
