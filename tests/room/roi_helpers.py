"""Made-up crops on disk, as crop_rois writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from spinegrade.crop_shape import CropShape
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS
from spinegrade.tables.files import write_table
from spinegrade.tables.rois import ROIS

SHAPE = CropShape(slices=3, slice_margin=1, rows=24, cols=24, margin_px=4)


def blob(grade: int, draws: np.random.Generator, shape: CropShape = SHAPE) -> np.ndarray:
    """A bright disc whose radius falls with the grade, on noise: uint8 of the stored shape."""
    side = shape.stored[1]
    ys, xs = np.mgrid[:side, :side] - (side - 1) / 2
    image = 60.0 * (np.hypot(xs, ys) < 9 - 3 * grade) + 90
    noisy = image + draws.normal(0, 15, shape.stored)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_crops(
    folder: Path,
    roi_set: str,
    conditions: list[str],
    studies: int,
    axial: bool = False,
    folds: int = 3,
    new_studies: int = 1,
    shape: CropShape = SHAPE,
    seed: int = 0,
) -> dict[str, tuple[list[Path], list[Path]]]:
    """Two shards of blobs for every cell of ``conditions``; the last studies have no fold."""
    draws = np.random.default_rng(seed)
    rows, crops = [], []
    for number in range(studies + new_studies):
        for cell in LUMBAR_CELLS:
            if cell.condition not in conditions:
                continue
            # Grades as uneven as real ones are.
            grade = int(draws.choice(3, p=[0.6, 0.25, 0.15]))
            is_new = number >= studies
            affine = np.eye(4)[:3]
            if not axial:
                affine = np.array([[0, 0, 4.0, 0], [0.5, 0, 0, 0], [0, -0.5, 0, 0]])
            values = {f"affine_{r}{c}": affine[r, c] for r in range(3) for c in range(4)}
            rows.append(
                {"study": f"s{number:03d}", "series": "1", "stack": 0, "index": 5}
                | cell._asdict()
                | {"x_px": 1.0, "y_px": 1.0, "x_mm": 0.0, "y_mm": 0.0, "z_mm": 0.0}
                | {"confidence": 0.9, "source": "made up", "roi_set": roi_set}
                | {"jitter_in_plane_mm": 0.5, "jitter_slices": 0.3}
                | {"grade": None if is_new else grade, "fold": None if is_new else number % folds}
                | values
            )
            crops.append(blob(grade, draws, shape))
    table = pd.DataFrame(rows).astype({"grade": "Int64", "fold": "Int64"})
    array = np.stack(crops)
    half = len(table) // 2
    arrays, tables = [], []
    for shard, part in enumerate((slice(0, half), slice(half, None))):
        place = folder / roi_set / str(shard)
        place.mkdir(parents=True)
        np.save(place / "rois.npy", array[part])
        piece = table[part].reset_index(drop=True).assign(row=lambda t: np.arange(len(t)))
        write_table(place / "rois.parquet", piece, ROIS)
        arrays.append(place / "rois.npy")
        tables.append(place / "rois.parquet")
    return {roi_set: (arrays, tables)}
