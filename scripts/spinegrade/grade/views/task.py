"""What is learnt of crops in several views: batches of rows, and the loss of a network on one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.grade.views.looks import training_look
from spinegrade.grade.views.mixing import draw_mixing, mixed
from spinegrade.grade.views.network import build_network, logits_of
from spinegrade.grade.views.samples import Batch, Samples
from spinegrade.grade.views.settings import CropShape, Settings
from spinegrade.grader_layout import SIDED_CONDITIONS
from spinegrade.losses.registry import build as build_loss
from spinegrade.metrics.log_loss import mean_over_conditions
from spinegrade.names import CONDITIONS
from spinegrade.training.task import Moment


class ViewTask:
    """Rows of crops with their grades; see ``training.task.Task``."""

    parts = ("loss",)
    least = 1

    def __init__(
        self, samples: Samples, settings: Settings, shapes: Mapping[str, CropShape]
    ) -> None:
        self.samples, self.settings, self.shapes = samples, settings, shapes
        self.studies = samples.studies
        training = settings.training
        self.loss = build_loss(training.loss, grade_weights=tuple(training.grade_weights))

    def __len__(self) -> int:
        # Without a grade there is nothing to learn, or to choose by.
        return len(self.samples) if (self.samples.grades >= 0).any() else 0

    def digest(self) -> str:
        """Fingerprint of the rows and their pixels."""
        return self.samples.digest()

    def network(self) -> nn.Module:
        """The untrained network."""
        return build_network(self.settings, self.shapes)

    def read(self, rows: NDArray[np.int64], seed: int) -> Batch:
        """The rows; what is chosen among a level's sequences comes from ``seed``."""
        return self.samples.read(rows, seed)

    def losses(self, network: nn.Module, batch: Batch, at: Moment) -> Tensor:
        """The loss (1,) of varied images, some rows mixed with others."""
        batch = batch.to(at.device)
        inputs = training_look(batch, self.settings, self.shapes, at.draws)
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
        """``graded_loss``; each row is seen once, whatever ``tta`` makes of predictions."""
        logits = logits_of(network, self.samples, self.settings, self.shapes, at)
        return graded_loss(logits, self.samples)

    def record(self) -> dict[str, Any]:
        """Nothing: what prediction needs is in the settings."""
        return {}


def graded_loss(logits: NDArray[np.float64], samples: Samples) -> float:
    """Mean over the conditions of the weighted log loss of what is graded, as the metric has it.

    ``logits`` (n, C, 3). The competition's further part, any-severe, is left out: it needs whole
    studies. NaN where nothing is graded.
    """
    raised = np.exp(logits - logits.max(axis=2, keepdims=True))
    probabilities = raised / raised.sum(axis=2, keepdims=True)
    graded = samples.grades >= 0
    condition = np.array([CONDITIONS.index(name) for name, _ in SIDED_CONDITIONS])
    of_cell = condition[samples.places()[..., 0][graded]]
    return mean_over_conditions(probabilities[graded], samples.grades[graded], of_cell)
