"""Batches of cells: read as they are stored, then as the network takes them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinegrade.crop_shape import CropShape
from spinegrade.grade.cells.augment import StoredCrops, look
from spinegrade.grade.cells.cells import Cells
from spinegrade.grade.cells.settings import Augmentation, Settings
from spinegrade.regions.lumbar_mri import CONDITIONS


class Batch(NamedTuple):
    """Arguments of ``models.cell_grader.CellGrader.forward``, in their order."""

    crops: dict[str, Tensor]
    heads: dict[str, Tensor]
    cells: dict[str, Tensor]
    conditions: Tensor
    levels: Tensor


class StoredBatch(NamedTuple):
    """The same with crops as they are stored, by roi set; all on the CPU."""

    crops: dict[str, StoredCrops]
    heads: dict[str, Tensor]
    cells: dict[str, Tensor]
    conditions: Tensor
    levels: Tensor

    def seen(
        self,
        shapes: dict[str, CropShape],
        device: torch.device,
        augmentation: Augmentation | None = None,
        draws: torch.Generator | None = None,
        mirror_central: bool = False,
    ) -> Batch:
        """What the network sees of it on ``device``; see ``augment.look``."""
        crops = {}
        for name, stored in self.crops.items():
            seen = look(stored.to(device), shapes[name], augmentation, draws, mirror_central)
            crops[name] = seen.contiguous(memory_format=torch.channels_last)
        heads, cells = (
            {name: value.to(device) for name, value in given.items()}
            for given in (self.heads, self.cells)
        )
        return Batch(crops, heads, cells, self.conditions.to(device), self.levels.to(device))


class BatchReader:
    """Reads the crops of chosen cells."""

    def __init__(self, cells: Cells, settings: Settings) -> None:
        self.cells = cells
        sides = cells.table["side"].to_numpy()
        self._right = sides == "right"
        self._sided = sides != "central"
        self._head_of = {
            (CONDITIONS.index(condition), roi_set): place
            for place, (condition, roi_set) in enumerate(settings.heads)
        }

    def read(self, chosen: NDArray[np.int64]) -> StoredBatch:
        """The cells at the places ``chosen`` (n,)."""
        crops, heads, owners = {}, {}, {}
        for roi_set, store in self.cells.stores.items():
            places = self.cells.rows[roi_set][chosen]
            owner = np.flatnonzero(places >= 0)
            if not len(owner):
                continue
            rows, cell = places[owner], chosen[owner]
            crops[roi_set] = StoredCrops(
                pixels=_tensor(store.take(rows)),
                mirrored=_tensor(self._right[cell]),
                sided=_tensor(self._sided[cell]),
                flips_x=_tensor(store.flips_x[rows]),
                shift_px=_tensor(store.shift_px[rows]),
                shift_slices=_tensor(store.shift_slices[rows]),
            )
            conditions = self.cells.condition[cell]
            heads[roi_set] = _tensor(
                np.array([self._head_of[c, roi_set] for c in conditions], np.int64)
            )
            owners[roi_set] = _tensor(owner)
        conditions, levels = (
            _tensor(part[chosen]) for part in (self.cells.condition, self.cells.level)
        )
        return StoredBatch(crops, heads, owners, conditions, levels)


def _tensor(array: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
