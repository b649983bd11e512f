"""Batches of cells as the model takes them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinegrade.grade.cells.augment import StoredCrops, look
from spinegrade.grade.cells.cells import Cells
from spinegrade.grade.cells.settings import Augmentation, Settings
from spinegrade.names import CONDITIONS


class Batch(NamedTuple):
    """Arguments of ``models.cell_grader.CellGrader.forward``, in their order."""

    crops: dict[str, Tensor]
    heads: dict[str, Tensor]
    cells: dict[str, Tensor]
    conditions: Tensor
    levels: Tensor


class BatchMaker:
    """Reads the crops of chosen cells and lets the device do the rest."""

    def __init__(self, cells: Cells, settings: Settings, device: torch.device) -> None:
        self.cells = cells
        self.settings = settings
        self.device = device
        sides = cells.table["side"].to_numpy()
        self._right = sides == "right"
        self._sided = sides != "central"
        self._head_of = {
            (CONDITIONS.index(condition), roi_set): place
            for place, (condition, roi_set) in enumerate(settings.heads)
        }

    def make(
        self,
        chosen: NDArray[np.int64],
        augmentation: Augmentation | None = None,
        draws: torch.Generator | None = None,
        mirror_central: bool = False,
    ) -> Batch:
        """The batch of the cells at the places ``chosen`` (n,); see ``augment.look``."""
        crops, heads, owners = {}, {}, {}
        for roi_set, store in self.cells.stores.items():
            places = self.cells.rows[roi_set][chosen]
            owner = np.flatnonzero(places >= 0)
            if not len(owner):
                continue
            rows, cell = places[owner], chosen[owner]
            stored = StoredCrops(
                pixels=self._tensor(store.take(rows)),
                mirrored=self._tensor(self._right[cell]),
                sided=self._tensor(self._sided[cell]),
                flips_x=self._tensor(store.flips_x[rows]),
                shift_px=self._tensor(store.shift_px[rows]),
                shift_slices=self._tensor(store.shift_slices[rows]),
            )
            seen = look(stored, store.shape, augmentation, draws, mirror_central)
            crops[roi_set] = seen.contiguous(memory_format=torch.channels_last)
            conditions = self.cells.condition[cell]
            heads[roi_set] = self._tensor(
                np.array([self._head_of[c, roi_set] for c in conditions], np.int64)
            )
            owners[roi_set] = self._tensor(owner)
        return Batch(
            crops,
            heads,
            owners,
            self._tensor(self.cells.condition[chosen]),
            self._tensor(self.cells.level[chosen]),
        )

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
