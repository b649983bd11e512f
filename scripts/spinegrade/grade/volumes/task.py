"""What is learnt of whole series: packed volumes, and the losses of a network on some."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.grade.volumes.answers import look
from spinegrade.grade.volumes.augment import augment
from spinegrade.grade.volumes.augmentation import augmentation_of
from spinegrade.grade.volumes.flip import exchange_sides
from spinegrade.grade.volumes.reading import Packed, read_packed
from spinegrade.grade.volumes.samples import OneStageSamples, mean_shape_of
from spinegrade.grade.volumes.settings import Settings
from spinegrade.losses.registry import build as build_loss
from spinegrade.metrics.log_loss import mean_over_conditions
from spinegrade.models.registry import build as build_model
from spinegrade.regions.lumbar_mri import GRADE_WEIGHTS
from spinegrade.training.task import Moment


class VolumeTask:
    """Whole series with points and grades; see ``training.task.Task``."""

    least = 1

    def __init__(self, samples: OneStageSamples, settings: Settings) -> None:
        self.samples, self.settings = samples, settings
        self.studies, self.parts = samples.studies, settings.parts
        self.augmentation = augmentation_of(settings)
        self.loss = build_loss(settings.loss_name, **settings.loss_options)

    def __len__(self) -> int:
        # Without a grade there is nothing to learn, or to choose by.
        return len(self.samples) if (self.samples.grades >= 0).any() else 0

    @cached_property
    def mean_shape(self) -> NDArray[np.float64]:
        """Of these samples alone, so that no held-out study has a part in it."""
        return mean_shape_of(self.samples)

    def digest(self) -> str:
        """Fingerprint of points, grades and pixels."""
        samples = self.samples
        digest = hashlib.sha256(repr((samples.studies, samples.series, samples.stacks)).encode())
        for array in (samples.points, samples.known, samples.grades, *samples.volumes):
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()

    def network(self) -> nn.Module:
        """The untrained network."""
        return build_model(self.settings.model_name, **self.settings.network_options())

    def read(self, rows: NDArray[np.int64], seed: int) -> Packed:
        """The volumes at ``rows``, packed; nothing is drawn."""
        return read_packed(self.samples, rows)

    def losses(self, network: nn.Module, batch: Packed, at: Moment) -> Tensor:
        """Losses by ``parts`` of varied volumes."""
        varied = augment(
            batch.slices.to(at.device, non_blocking=True),
            batch.lengths,
            batch.points,
            batch.known,
            settings=self.augmentation,
            mean_shape=self.mean_shape,
            generator=at.draws,
        )
        with at.autocast():
            output = network(varied.slices, batch.lengths)
        mirror, flip = self.augmentation.mirror, self.augmentation.flip
        grades = exchange_sides(batch.grades.to(at.device), varied.reversed, mirror, flip)
        parts = self.loss(output, varied.points, varied.known, grades, batch.lengths)
        return torch.stack([parts[name] for name in self.parts])

    def choice(self, network: nn.Module, at: Moment) -> float:
        """Weighted log loss; each volume is seen once, whatever predictions are made of."""
        probabilities, true = [], []
        for row in range(len(self.samples)):
            packed = read_packed(self.samples, np.array([row]))
            seen = look(network, packed.slices, packed.lengths, self.settings, at)
            grades = packed.grades[0].numpy()
            graded = np.flatnonzero(grades >= 0)
            probabilities.append(seen.final.grades[0, graded])
            true.append(grades[graded])
        joined = np.concatenate(true)
        one = np.zeros_like(joined)
        return mean_over_conditions(np.concatenate(probabilities), joined, one, GRADE_WEIGHTS)

    def record(self) -> dict[str, Any]:
        """Nothing: what prediction needs is in the settings."""
        return {}
