"""What is learnt of crops in rows: batches, and the loss of a network on one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.crop_shape import CropShape
from spinegrade.grade.views import looks
from spinegrade.grade.views.mixing import draw_mixing, mixed
from spinegrade.grade.views.rows import graded_loss, logits_of
from spinegrade.grade.views.samples import Batch, Samples
from spinegrade.grade.views.settings import PARTS, CropSettings
from spinegrade.losses.registry import build as build_loss
from spinegrade.models.registry import build as build_model
from spinegrade.training.task import Moment


class ViewTask:
    """Rows of crops with their grades; see ``training.task.Task``."""

    parts = PARTS
    least = 1
    training_look = staticmethod(looks.training_look)
    plain_look = staticmethod(looks.plain_look)

    def __init__(
        self, samples: Samples, settings: CropSettings, shapes: Mapping[str, CropShape]
    ) -> None:
        self.samples, self.settings, self.shapes = samples, settings, shapes
        self.studies = samples.studies
        self.loss = build_loss(settings.loss_name, **settings.loss)

    def __len__(self) -> int:
        # Without a grade there is nothing to learn, or to choose by.
        return len(self.samples) if (self.samples.grades >= 0).any() else 0

    def digest(self) -> str:
        """Fingerprint of the rows and their pixels."""
        return self.samples.digest()

    def network(self) -> nn.Module:
        """The untrained network."""
        options = self.settings.network_options(self.shapes)
        return build_model(self.settings.model_name, **options)

    def read(self, rows: NDArray[np.int64], seed: int) -> Batch:
        """The rows; what is chosen among a level's sequences comes from ``seed``."""
        return self.samples.read(rows, seed)

    def losses(self, network: nn.Module, batch: Batch, at: Moment) -> Tensor:
        """The loss (1,) of varied images, some rows mixed with others."""
        batch = batch.to(at.device)
        inputs = self.training_look(batch, self.settings, self.shapes, at.draws)
        mixing = draw_mixing(self.settings.augment, at.epoch, len(batch.grades), at.draws)
        with at.autocast():
            logits = network(**(mixed(inputs, mixing) if mixing else inputs))
        logits = logits.flatten(1, -2)
        loss = self.loss(logits, batch.grades)
        if mixing is None:
            return loss[None]
        other = self.loss(logits, batch.grades[mixing.partner.to(at.device)])
        return (mixing.share * loss + (1 - mixing.share) * other)[None]

    def choice(self, network: nn.Module, at: Moment) -> float:
        """``graded_loss``; each row is seen once, whatever predictions are made of."""
        logits = logits_of(
            *(network, self.samples, self.settings, self.shapes, at), plain_look=self.plain_look
        )
        return graded_loss(logits, self.samples)

    def record(self) -> dict[str, Any]:
        """Nothing: what prediction needs is in the settings."""
        return {}
