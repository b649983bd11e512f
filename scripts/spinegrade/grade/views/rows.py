"""What a network says of rows of crops, and how good that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.crop_shape import CropShape
from spinegrade.grade.views.looks import mirrored_columns
from spinegrade.grade.views.samples import Batch, Samples
from spinegrade.grade.views.settings import CropSettings
from spinegrade.metrics.log_loss import mean_over_conditions
from spinegrade.regions.lumbar_mri import CONDITIONS, GRADE_WEIGHTS
from spinegrade.regions.lumbar_views import SIDED_CONDITIONS
from spinegrade.training.task import Moment

PlainLook = Callable[[Batch, CropSettings, Mapping[str, CropShape], str], dict[str, Tensor]]
"""The network's inputs of a batch, its settings, shapes of crops and the name of a look."""


@torch.inference_mode()
def logits_of(
    network: nn.Module,
    samples: Samples,
    settings: CropSettings,
    shapes: Mapping[str, CropShape],
    at: Moment,
    plain_look: PlainLook,
    looks: Sequence[str] = ("plain",),
) -> NDArray[np.float64]:
    """Logits (n, C, 3) of all rows, the mean over ``looks``.

    ``network`` in evaluation mode.
    """
    parts, size = [], settings.training["batch_size"]
    for start in range(0, len(samples), size):
        batch = samples.read(np.arange(start, min(start + size, len(samples)))).to(at.device)
        seen = []
        for look in looks:
            with at.autocast():
                logits = network(**plain_look(batch, settings, shapes, look))
            columns = mirrored_columns(settings, logits) if look == "mirrored" else logits
            seen.append(columns.flatten(1, -2).double())
        parts.append(torch.stack(seen).mean(dim=0).cpu().numpy())
    return np.concatenate(parts)


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
    return mean_over_conditions(
        probabilities[graded], samples.grades[graded], of_cell, GRADE_WEIGHTS
    )
