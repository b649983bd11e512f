"""Made-up stacks with bright dots where the points are, as convert writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from spinegrade.convert.nifti import write_volume
from spinegrade.geometry.affine import affine_to_columns, to_mm
from spinegrade.regions.lumbar_mri import LUMBAR_LEVELS, SPINAL
from spinegrade.tables.files import write_table
from spinegrade.tables.named import kind_named
from spinegrade.volumes import Stack

SAGITTAL_AXES = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])


def affine_of(columns: np.ndarray, rows: np.ndarray, across: np.ndarray, first: np.ndarray):
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2], affine[:3, 3] = columns, rows, across, first
    return affine


def write_stack(folder: Path, volume: np.ndarray, affine: np.ndarray, **names: object) -> Stack:
    """Write a volume below ``folder`` and return its Stack; ``names`` override its fields."""
    fields: dict = {
        "study": "s",
        "series": "1",
        "stack": 0,
        "split": "train",
        "plane": "sagittal",
        "weighting": "t2",
    } | names
    path = folder / "volumes" / fields["study"] / f"{fields['series']}_{fields['stack']}.nii"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, volume, affine, 0, 255)
    slices, rows, cols = volume.shape
    return Stack(
        **fields,
        slices=slices,
        rows=rows,
        cols=cols,
        affine=affine,
        intensity_low=0.0,
        intensity_high=255.0,
        path=path,
    )


def stack_row(stack: Stack, folder: Path) -> dict:
    """The stacks table's row of ``stack``."""
    spacing = np.linalg.norm(stack.affine[:3, :3], axis=0)
    names = ("study", "series", "stack", "split", "plane", "weighting", "slices", "rows", "cols")
    return {
        **{name: getattr(stack, name) for name in names},
        "col_spacing_mm": spacing[0],
        "row_spacing_mm": spacing[1],
        "slice_spacing_mm": spacing[2],
        "shear_degrees": 0.0,
        **affine_to_columns(stack.affine),
        "intensity_low": stack.intensity_low,
        "intensity_high": stack.intensity_high,
        "volume": str(stack.path.relative_to(folder)),
    }


def write_canal_cohort(folder: Path, studies: int, test_studies: int = 1) -> dict[str, str]:
    """Sagittal T2 studies with five dots of falling size: tables of one shard; their paths."""
    draws = np.random.default_rng(3)
    convert = folder / "convert"
    stacks, landmarks, rows = [], [], []
    for number in range(studies + test_studies):
        study, split = f"s{number:02d}", "train" if number < studies else "test"
        affine = affine_of([0, 4, 0], [0, 0, -4], [5, 0, 0], draws.normal(0, 50, 3))
        volume = draws.normal(40, 8, (6, 40, 24))
        start, step = draws.uniform(5, 8), draws.uniform(5.5, 6.5)
        across = draws.uniform(2, 4)
        for place, level in enumerate(LUMBAR_LEVELS):
            point = np.array([12 + draws.uniform(-2, 2), start + place * step, across])
            z, y, x = np.ogrid[:6, :40, :24]
            far = (x - point[0]) ** 2 + (y - point[1]) ** 2 + (2 * (z - point[2])) ** 2
            volume += 180 * np.exp(-far / (2 * (2.2 - 0.3 * place) ** 2))
            index = round(point[2])
            mm = to_mm(affine, [[*point[:2], index]])[0]
            landmarks.append(
                {"study": study, "series": "1", "stack": 0, "index": index}
                | {"condition": SPINAL, "level": level, "side": "central"}
                | {"x_px": point[0], "y_px": point[1]}
                | dict(zip(("x_mm", "y_mm", "z_mm"), mm, strict=True))
                | {"confidence": 1.0, "source": "annotated"}
            )
        array = np.clip(volume, 0, 255).astype(np.int16)
        stack = write_stack(convert, array, affine, study=study, split=split)
        stacks.append(stack_row(stack, convert))
        rows.append(
            {"study": study, "split": split, "region": "lumbar", "shard": 0, "series_count": 1}
            | {"problem": None}
        )
    table = pd.DataFrame(landmarks)
    table = table[table["study"] < f"s{studies:02d}"]
    paths = {
        "studies": (pd.DataFrame(rows), folder / "cohort" / "studies.parquet"),
        "folds": (
            pd.DataFrame(
                [{"study": f"s{k:02d}", "fold": k % 2, "stratum": 0} for k in range(studies)]
            ),
            folder / "cohort" / "folds.parquet",
        ),
        "stacks": (pd.DataFrame(stacks), convert / "0" / "stacks.parquet"),
        "located_landmarks": (table, convert / "0" / "landmarks.parquet"),
    }
    for kind, (content, path) in paths.items():
        write_table(path, content, kind_named(kind))
    return {kind: str(path) for kind, (_, path) in paths.items()}
