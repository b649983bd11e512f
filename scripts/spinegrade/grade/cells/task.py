"""What is learnt of cells: batches of their crops, and the loss of a network on one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.crop_shape import CropShape
from spinegrade.grade.cells.batches import BatchReader, StoredBatch
from spinegrade.grade.cells.cells import Cells, log_prior, loss_weights
from spinegrade.grade.cells.looks import build_network, predict_cells
from spinegrade.grade.cells.settings import PARTS, Settings
from spinegrade.losses.registry import build as build_loss
from spinegrade.metrics.log_loss import mean_over_conditions
from spinegrade.regions.lumbar_mri import GRADE_WEIGHTS
from spinegrade.training.task import Moment


class GradedBatch(NamedTuple):
    """Cells as they are stored, with ``grades`` (n,) int64 and ``weights`` (n,) of their losses."""

    stored: StoredBatch
    grades: Tensor
    weights: Tensor


class CellTask:
    """The graded cells of some studies; see ``training.task.Task``."""

    parts = PARTS
    least = 2

    def __init__(
        self,
        cells: Cells,
        settings: Settings,
        shapes: dict[str, CropShape],
        studies: Sequence[str],
    ) -> None:
        self.cells, self.settings, self.shapes = cells, settings, shapes
        graded = cells.table["grade"].notna() & cells.table["study"].isin(set(studies))
        self.places = np.flatnonzero(graded.to_numpy())
        self.table = cells.table.iloc[self.places]
        self.studies = tuple(self.table["study"])
        self.grades = torch.from_numpy(self.table["grade"].to_numpy(np.int64))
        # Without a cell there is no weight either, and the caller refuses the task.
        weights = loss_weights(self.table) if len(self.table) else np.zeros(0, np.float32)
        self.weights = torch.from_numpy(weights)
        self.reader = BatchReader(cells, settings)
        self.loss = build_loss(settings.loss_name, **settings.loss)

    def __len__(self) -> int:
        return len(self.places)

    def digest(self) -> str:
        """Fingerprint of the cells and of all that is known of their crops."""
        digest = hashlib.sha256(self.table.to_csv(index=False).encode())
        for name, store in self.cells.stores.items():
            rows = self.cells.rows[name][self.places]
            digest.update(f"{name} {store.shape}".encode() + rows.tobytes())
            rows = rows[rows >= 0]
            for array in (store.flips_x, store.shift_px, store.shift_slices):
                digest.update(array[rows].tobytes())
            # A few at a time: all of them need not fit into memory.
            for start in range(0, len(rows), 256):
                digest.update(store.take(rows[start : start + 256]))
        return digest.hexdigest()

    def network(self) -> nn.Module:
        """The untrained grader, which knows the prior of these cells."""
        pretrained = self.settings.model["encoder"]["pretrained"]
        network = build_network(self.settings, self.shapes, log_prior(self.table), pretrained)
        return network.to(memory_format=torch.channels_last)

    def read(self, rows: NDArray[np.int64], seed: int) -> GradedBatch:
        """The cells at ``rows``; nothing is drawn."""
        stored = self.reader.read(self.places[rows])
        return GradedBatch(stored, self.grades[rows], self.weights[rows])

    def losses(self, network: nn.Module, batch: GradedBatch, at: Moment) -> Tensor:
        """The loss (1,); crops are varied where there are draws."""
        augmentation = None if at.draws is None else self.settings.augmentation
        seen = batch.stored.seen(self.shapes, at.device, augmentation, at.draws)
        with at.autocast():
            logits = network(*seen)
        return self.loss(logits, batch.grades.to(at.device), batch.weights.to(at.device))[None]

    def choice(self, network: nn.Module, at: Moment) -> float:
        """Mean over the conditions of the weighted log loss, whatever looks predict."""
        probabilities = predict_cells(network, self.reader, self.places, self.shapes, at,
                                      self.settings)  # fmt: skip
        condition = self.cells.condition[self.places]
        return mean_over_conditions(probabilities, self.grades.numpy(), condition, GRADE_WEIGHTS)

    def record(self) -> dict[str, Any]:
        """Nothing: the prior is among the weights."""
        return {}
