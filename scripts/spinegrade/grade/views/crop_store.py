"""Crops of one roi set over all shards, mapped from their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.crop_shape import CropShape
from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import AFFINE_COLUMNS
from spinegrade.grade.views.settings import PLANE_OF
from spinegrade.runtime.arrays import open_array
from spinegrade.tables.files import read_table
from spinegrade.tables.rois import ROIS


@dataclass(frozen=True)
class CropStore:
    """``table``: the roi set's "rois" rows with ``place``, the crop's number over all shards.

    ``pixel_aspects`` (n,): height over width of each crop's pixels, by row of the table, which is
    the place.
    """

    shape: CropShape
    arrays: list[NDArray[np.uint8]]
    starts: NDArray[np.int64]
    table: pd.DataFrame
    pixel_aspects: NDArray[np.float32]

    def take(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Crops (*places.shape, slices, height, width), zeros where a place is -1.

        Slices without, rows and columns with the margin that is stored.
        """
        _, *stored = self.shape.stored
        crops = np.zeros((places.size, self.shape.slices, *stored), np.uint8)
        flat = places.ravel()
        shard = np.searchsorted(self.starts, flat, side="right") - 1
        first = self.shape.slice_margin
        for number in np.unique(shard[flat >= 0]):
            chosen = np.flatnonzero((shard == number) & (flat >= 0))
            rows = flat[chosen] - self.starts[number]
            crops[chosen] = self.arrays[number][rows, first : first + self.shape.slices]
        return crops.reshape(*places.shape, *crops.shape[1:])

    def aspects(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Height over width of the crops' pixels (places.shape), in mm; 1 where a place is -1."""
        known = self.pixel_aspects if len(self.pixel_aspects) else np.ones(1, np.float32)
        return np.where(places >= 0, known[places], np.float32(1))


def open_crops(
    shape: CropShape, arrays: Sequence[str | Path], tables: Sequence[str | Path]
) -> CropStore:
    """Map one roi set's shards, listed alike.

    Raises SpinegradeError when an array's shape is not what the config says, or differs in
    length from its table.
    """
    mapped, parts, starts = [], [], [0]
    for array_path, table_path in zip(arrays, tables, strict=True):
        array, table = open_array(array_path), read_table(table_path, ROIS)
        if array.shape != (len(table), *shape.stored):
            raise SpinegradeError(
                f"{array_path}: shape {array.shape}, expected {(len(table), *shape.stored)} by "
                f"the config and {table_path}; run crop_rois again"
            )
        mapped.append(array)
        parts.append(table.assign(place=table["row"].astype("int64") + starts[-1]))
        starts.append(starts[-1] + len(table))
    table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    affines = table[list(AFFINE_COLUMNS)].to_numpy(float).reshape(-1, 3, 4)
    x_mm, y_mm = (np.linalg.norm(affines[:, :, axis], axis=1) for axis in range(2))
    aspects = (y_mm / x_mm).astype(np.float32)
    return CropStore(shape, mapped, np.array(starts[:-1]), table, aspects)


def open_all_crops(
    crops: dict[str, str],
    shapes: dict[str, CropShape],
    arrays: Sequence[str],
    tables: Sequence[str],
) -> dict[str, CropStore]:
    """The store of each kind of crop in ``crops`` (kind: roi set).

    ``arrays`` and ``tables`` are listed roi set by roi set, each once in the order of ``crops``,
    all with the same shards.
    """
    names = list(dict.fromkeys(crops.values()))
    shards = len(tables) // len(names)
    stores = {}
    for place, name in enumerate(names):
        part = slice(place * shards, (place + 1) * shards)
        stores[name] = open_crops(shapes[name], arrays[part], tables[part])
    for kind, name in crops.items():
        _check_plane(kind, name, stores[name].table)
    return {kind: stores[name] for kind, name in crops.items()}


def _check_plane(kind: str, roi_set: str, table: pd.DataFrame) -> None:
    """Refuse crops of the other plane: a crop's x runs to the back or to the patient's left."""
    x_step = table[["affine_00", "affine_10"]].abs()
    axial = x_step["affine_00"] > x_step["affine_10"]
    wrong = axial if PLANE_OF[kind] == "sagittal" else ~axial
    if wrong.any():
        row = table[wrong].iloc[0]
        raise SpinegradeError(
            f"roi set {roi_set}: the crop of study {row['study']}, {row['condition']} at "
            f"{row['level']}, is not {PLANE_OF[kind]}, as crops of the kind {kind} must be; name "
            "another roi set"
        )
