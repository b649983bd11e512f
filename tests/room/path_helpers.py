"""A small cohort on disk to which a test does harm, and what came of it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd
from dicom_helpers import AXIAL, SAGITTAL, voxels, write_stack
from spinegrade.cohort.index import index_cohort
from spinegrade.convert.shard import convert_shard
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS
from spinegrade.tables.files import read_table
from spinegrade.tables.rejected import REJECTED

STUDY, SERIES = "101", ("201", "202", "203")
DESCRIPTIONS = (("Sagittal T1", SAGITTAL), ("Sagittal T2/STIR", SAGITTAL), ("Axial T2", AXIAL))


def write_rows(path: Path, rows: list[list[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def deliver(root: Path) -> Path:
    """A cohort of one train and one test study, in the competition's layout."""
    cells = [cell.column for cell in LUMBAR_CELLS]
    tables: dict[str, list[list[object]]] = {
        "train.csv": [["study_id", *cells], [STUDY, *["Normal/Mild"] * 25]],
        "train_series_descriptions.csv": [["study_id", "series_id", "series_description"]],
        "test_series_descriptions.csv": [["study_id", "series_id", "series_description"]],
        "train_label_coordinates.csv": [
            ["study_id", "series_id", "instance_number", "condition", "level", "x", "y"],
            [STUDY, SERIES[1], 2, "Spinal Canal Stenosis", "L1/L2", 5.0, 6.0],
        ],
        "sample_submission.csv": [["row_id", "normal_mild", "moderate", "severe"]],
    }
    for split, study in (("train", STUDY), ("test", "102")):
        for name, (description, orientation) in zip(SERIES, DESCRIPTIONS, strict=True):
            write_stack(root / f"{split}_images" / study / name, voxels(4, 12, 12), orientation)
            tables[f"{split}_series_descriptions.csv"].append([study, name, description])
    tables["sample_submission.csv"] += [[f"102_{cell}", 0.3, 0.3, 0.4] for cell in cells]
    for name, rows in tables.items():
        write_rows(root / name, rows)
    return root


def tree(folder: Path) -> dict[str, tuple[object, ...]]:
    """Every entry below a folder: its type, and size and time of files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        known = path.lstat()
        kind = "link" if path.is_symlink() else "folder" if path.is_dir() else "file"
        told = () if kind == "folder" else (known.st_size, known.st_mtime_ns)
        found[str(path.relative_to(folder))] = (kind, *told)
    return found


def came(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """First parts of the paths that are new, changed or gone."""
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    return {path.split("/")[0] for path in changed}


def run(scratch: Path) -> pd.DataFrame:
    """Index and convert the cohort under ``scratch``/data into ``scratch``/results."""
    index_cohort(scratch / "data", 1, scratch / "results" / "cohort")
    table = scratch / "results" / "cohort" / "series.parquet"
    convert_shard(table, 0, scratch / "data", scratch / "results" / "convert", {}, "a")
    return read_table(scratch / "results/convert/0/rejected.parquet", REJECTED)
