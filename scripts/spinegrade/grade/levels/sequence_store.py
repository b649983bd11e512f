"""The axial slices of all shards, mapped from their files, and the levels that they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.arrays import open_array
from spinegrade.sequences import choose_positions, with_neighbours
from spinegrade.tables.files import read_table
from spinegrade.tables.sequences import SEQUENCES


@dataclass(frozen=True)
class SequenceStore:
    """``table``: the "sequences" rows of all shards with ``shard``, the number of the array."""

    arrays: list[NDArray[np.uint8]]
    table: pd.DataFrame

    def take(self, row: int, positions: int, jitter: float | None = None) -> NDArray[np.uint8]:
        """Slices of one level of one stack, uint8 (positions, 3, rows, cols), cranial first.

        ``row`` of the table; each slice is the middle one of three neighbours. ``jitter``: see
        ``sequences.choose_positions``.
        """
        shard, start, slices, first, last = (
            int(self.table[name].iat[row]) for name in ("shard", "start", "slices", "first", "last")
        )
        chosen = with_neighbours(choose_positions(first, last, positions, jitter), slices)
        return self.arrays[shard][start + chosen]

    def whole(self, row: int) -> NDArray[np.uint8]:
        """All slices of the stack of a row of the table, (slices, rows, cols), feet first."""
        shard, start, slices = (
            int(self.table[name].iat[row]) for name in ("shard", "start", "slices")
        )
        return self.arrays[shard][start : start + slices]


def open_sequences(
    size: tuple[int, int], arrays: Sequence[str | Path], tables: Sequence[str | Path]
) -> SequenceStore:
    """Map the shards of one sequence set, listed alike, of slices of ``size`` (rows, cols).

    Raises SpinegradeError when an array's slices have another size, or are fewer than its
    table says.
    """
    mapped, parts = [], []
    for shard, (array_path, table_path) in enumerate(zip(arrays, tables, strict=True)):
        array, table = open_array(array_path), read_table(table_path, SEQUENCES)
        needed = int((table["start"] + table["slices"]).max()) if len(table) else 0
        if array.ndim != 3 or array.shape[1:] != size or len(array) < needed:
            raise SpinegradeError(
                f"{array_path}: shape {array.shape}, expected (at least {needed}, {size[0]}, "
                f"{size[1]}) by the config and {table_path}; run crop_sequences again"
            )
        mapped.append(array)
        parts.append(table.assign(shard=shard))
    table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    return SequenceStore(mapped, table)
