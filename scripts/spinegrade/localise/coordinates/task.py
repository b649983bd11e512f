"""What is learnt by regressing points: batches, and the loss of a network on one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.localise.coordinates.augment import as_seen, augment, plain
from spinegrade.localise.coordinates.coordinates import to_targets
from spinegrade.localise.coordinates.network import build_network
from spinegrade.localise.coordinates.samples import RegressionSamples, image_of
from spinegrade.localise.coordinates.settings import Settings
from spinegrade.losses.registry import build as build_loss


class PointBatch(NamedTuple):
    """``images`` uint8 (B, C, D, F, F) on the CPU, ``points`` (B, P, 3), ``known`` (B, P)."""

    images: Tensor
    points: Tensor
    known: Tensor


class PointTask:
    """Points of images or volumes; see ``RegressorTrainer`` for what a task is."""

    parts = ("loss",)
    least = 2

    def __init__(self, samples: RegressionSamples, settings: Settings) -> None:
        self.samples, self.settings = samples, settings
        self.loss = build_loss(
            settings.loss, distance=settings.of_kind.distance, weight=settings.loss_weight
        )

    def __len__(self) -> int:
        return len(self.samples)

    def build_network(self) -> nn.Module:
        """The untrained network."""
        return build_network(self.settings)

    def read(self, chosen: NDArray[np.int64]) -> PointBatch:
        """The ``chosen`` samples, read from their volumes."""
        images = [image_of(self.settings, self.samples.looks[place]) for place in chosen]
        return PointBatch(
            torch.from_numpy(np.stack(images)),
            torch.from_numpy(self.samples.points[chosen]),
            torch.from_numpy(self.samples.known[chosen]),
        )

    def losses(
        self,
        network: nn.Module,
        batch: PointBatch,
        device: torch.device,
        draws: torch.Generator | None,
    ) -> Tensor:
        """Losses by ``parts`` (1,); without ``draws`` images are not varied."""
        images, points = batch.images.to(device, non_blocking=True), batch.points
        if draws is None:
            varied = plain(images)
        else:
            varied, points = augment(images, points, self.settings.augmentation, draws)
        found = network(as_seen(varied, self.settings.image_px))
        wanted = to_targets(points, self.settings).to(device)
        return self.loss(found.float(), wanted, batch.known.to(device))[None]
