"""Cells with their crops: what a classifier trains on and predicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.crop_shape import CropShape
from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import AFFINE_COLUMNS
from spinegrade.grade.cells.settings import Settings
from spinegrade.metrics.prior import grade_prior
from spinegrade.regions.lumbar_mri import CONDITIONS, GRADE_WEIGHTS, LUMBAR_LEVELS
from spinegrade.runtime.arrays import open_array
from spinegrade.tables.files import read_table
from spinegrade.tables.rois import ROIS
from spinegrade.training.jobs import PredictJob, TrainJob

CELL_KEY = ["study", "condition", "level", "side"]


@dataclass(frozen=True)
class CropStore:
    """The crops of one roi set over all shards, mapped from their files.

    ``flips_x`` (n,) bool: a left/right reflection flips the crop's x (axial) rather than the
    order of its slices (sagittal). ``shift_px`` (n,) and ``shift_slices`` (n,) float32 are
    the standard deviations of the detector's error in the crop's own steps.
    """

    shape: CropShape
    arrays: list[NDArray[np.uint8]]
    starts: NDArray[np.int64]
    flips_x: NDArray[np.bool_]
    shift_px: NDArray[np.float32]
    shift_slices: NDArray[np.float32]

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Stored crops (len(rows), slices, height, width) by their place over all shards."""
        crops = np.empty((len(rows), *self.shape.stored), np.uint8)
        shard = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(shard):
            chosen = shard == number
            crops[chosen] = self.arrays[number][rows[chosen] - self.starts[number]]
        return crops


@dataclass(frozen=True)
class Cells:
    """Cells that have at least one crop.

    ``table``: study, condition, level, side, grade (Int64, null: missing), fold (Int64,
    null: a new study). ``rows``: for each roi set the place (n,) of the cell's crop in its
    store, -1 where it has none. ``condition`` and ``level`` (n,) int64 are places in
    ``CONDITIONS`` and ``LUMBAR_LEVELS``.
    """

    table: pd.DataFrame
    stores: dict[str, CropStore]
    rows: dict[str, NDArray[np.int64]]
    condition: NDArray[np.int64]
    level: NDArray[np.int64]

    def shown_by(self, views: Iterable[tuple[str, str]]) -> NDArray[np.bool_]:
        """Which cells (n,) have a crop of one of the (condition, roi set) in ``views``."""
        shown = np.zeros(len(self.table), bool)
        for condition, roi_set in views:
            shown |= (self.condition == CONDITIONS.index(condition)) & (self.rows[roi_set] >= 0)
        return shown

    def chosen(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Places of the cells where ``mask`` (n,) is true."""
        return np.flatnonzero(mask)


def open_store(
    shape: CropShape, arrays: Sequence[str | Path], tables: Sequence[str | Path]
) -> tuple[CropStore, pd.DataFrame]:
    """Map one roi set's shards; also return its table, with ``place`` over all shards.

    Raises SpinegradeError when an array's shape is not what the config says, or differs in
    length from its table.
    """
    mapped, parts, starts = [], [], [0]
    for array_path, table_path in zip(arrays, tables, strict=True):
        array = open_array(array_path)
        table = read_table(table_path, ROIS)
        if array.shape != (len(table), *shape.stored):
            raise SpinegradeError(
                f"{array_path}: shape {array.shape}, expected {(len(table), *shape.stored)} by "
                f"the config and {table_path}; run crop_rois again"
            )
        mapped.append(array)
        parts.append(table.assign(place=table["row"].astype("int64") + starts[-1]))
        starts.append(starts[-1] + len(table))
    table = pd.concat([p for p in parts if len(p)] or parts[:1], ignore_index=True)
    affines = table[list(AFFINE_COLUMNS)].to_numpy(float).reshape(-1, 3, 4)
    x_mm = np.linalg.norm(affines[:, :, 0], axis=1)
    return (
        CropStore(
            shape=shape,
            arrays=mapped,
            starts=np.array(starts[:-1]),
            flips_x=np.abs(affines[:, 0, 0]) > np.abs(affines[:, 1, 0]),
            shift_px=(table["jitter_in_plane_mm"].to_numpy(float) / x_mm).astype(np.float32),
            shift_slices=table["jitter_slices"].to_numpy(np.float32),
        ),
        table,
    )


def files_of_sets(
    roi_sets: Sequence[str], arrays: Sequence[str], tables: Sequence[str]
) -> dict[str, tuple[Sequence[str], Sequence[str]]]:
    """Arrays and tables listed set by set, all with the same shards, as ``load_cells`` wants."""
    shards = len(tables) // len(roi_sets)
    return {
        name: (
            arrays[place * shards : (place + 1) * shards],
            tables[place * shards : (place + 1) * shards],
        )
        for place, name in enumerate(roi_sets)
    }


def load_cells(
    views: Mapping[str, Sequence[str]],
    shapes: Mapping[str, CropShape],
    files: Mapping[str, tuple[Sequence[str | Path], Sequence[str | Path]]],
) -> Cells:
    """Cells of the conditions in ``views`` with the crops of their roi sets.

    ``files`` gives the arrays and tables (one a shard) of each roi set. The order of cells
    is that of study, condition, level, side.
    """
    stores, tables = {}, {}
    for name, (arrays, paths) in files.items():
        stores[name], tables[name] = open_store(shapes[name], arrays, paths)
    parts = [
        tables[name].loc[tables[name]["condition"] == condition, [*CELL_KEY, "grade", "fold"]]
        for condition, names in views.items()
        for name in names
    ]
    table = pd.concat(parts, ignore_index=True).drop_duplicates(CELL_KEY)
    table = table.sort_values(CELL_KEY, ignore_index=True)
    rows = {}
    for name, crops in tables.items():
        serves = [condition for condition, names in views.items() if name in names]
        known = crops.loc[crops["condition"].isin(serves), [*CELL_KEY, "place"]]
        places = table[CELL_KEY].merge(known, "left", CELL_KEY)["place"]
        rows[name] = places.fillna(-1).to_numpy(np.int64)
    return Cells(
        table=table,
        stores=stores,
        rows=rows,
        condition=table["condition"].map(CONDITIONS.index).to_numpy(np.int64),
        level=table["level"].map(LUMBAR_LEVELS.index).to_numpy(np.int64),
    )


def log_prior(table: pd.DataFrame) -> NDArray[np.float32]:
    """Log of ``metrics.prior`` over the graded cells of ``table``, (conditions, levels, grades)."""
    shape = (len(CONDITIONS), len(LUMBAR_LEVELS), len(GRADE_WEIGHTS))
    graded = table.dropna(subset=["grade"])
    counts = np.zeros(shape)
    places = (
        graded["condition"].map(CONDITIONS.index).to_numpy(np.int64),
        graded["level"].map(LUMBAR_LEVELS.index).to_numpy(np.int64),
        graded["grade"].to_numpy(np.int64),
    )
    np.add.at(counts, places, 1)
    return np.log([grade_prior(by_level, GRADE_WEIGHTS) for by_level in counts]).astype(np.float32)


def loss_weights(table: pd.DataFrame) -> NDArray[np.float32]:
    """Weight (n,) of each graded cell: the metric's 1, 2, 4, conditions brought to one share.

    The mean over the cells is 1, so that the weighted mean of the losses is the mean over
    the conditions of the metric's log losses.
    """
    weights = np.array(GRADE_WEIGHTS)[table["grade"].astype(int)]
    total = pd.Series(weights).groupby(table["condition"].to_numpy()).transform("sum")
    weights = weights / total.to_numpy()
    return (weights / weights.mean()).astype(np.float32)


class Opened(NamedTuple):
    """``cells`` of all shards with their crops, and the ``shapes`` of these; ``seed`` of looks."""

    cells: Cells
    shapes: dict[str, CropShape]
    seed: int


def open_inputs(settings: Settings, job: TrainJob | PredictJob) -> Opened:
    """The crops of a job's sets, mapped."""
    shapes = {name: CropShape(**shape) for name, shape in job.given["shapes"].items()}
    files = files_of_sets(settings.roi_sets, job.inputs["arrays"], job.inputs["tables"])
    return Opened(load_cells(settings.views, shapes, files), shapes, job.run.seed)
