"""Series with one thing wrong each, and a cohort of such: what surveys are tested on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from dicom_helpers import AXIAL, SAGITTAL, voxels, write_slice, write_stack
from spinegrade.tables.files import write_table
from spinegrade.tables.series import SERIES


def stack(folder: Path, slices: int = 8, size: int = 16, **changes: object) -> None:
    write_stack(folder, voxels(slices, size, size), AXIAL, **changes)


def sheared_stack(folder: Path, slices: int) -> None:
    """Slices 4 mm apart, each 0.02 mm farther to the back: 0.29 degrees off their normal."""
    for place, pixels in enumerate(voxels(slices, 16, 16)):
        first = place * np.array([0.0, 0.02, 4.0])
        write_slice(folder / f"{place + 1}.dcm", pixels, AXIAL, first, place + 1)


def missing_slice(folder: Path) -> None:
    stack(folder, 12, shuffle=None)
    (folder / "6.dcm").unlink()


def copy(folder: Path) -> None:
    stack(folder)
    shutil.copy(folder / "3.dcm", folder / "30.dcm")


def second_image(folder: Path) -> None:
    stack(folder, shuffle=None)
    write_slice(folder / "30.dcm", voxels(1, 16, 16, 5)[0], AXIAL, np.array([0, 0, 8.0]), 30)


def two_echoes(folder: Path) -> None:
    stack(folder, EchoTime="10")
    write_stack(folder, voxels(8, 16, 16, 1), AXIAL, start=9, EchoTime="90")


def two_sizes(folder: Path) -> None:
    stack(folder)
    write_stack(folder, voxels(5, 24, 20), AXIAL, (0, 0, 100), start=9)


def truncated(folder: Path) -> None:
    stack(folder, shuffle=None)
    file = folder / "8.dcm"
    file.write_bytes(file.read_bytes()[:-40])


def cut_in_the_header(folder: Path) -> None:
    stack(folder, shuffle=None)
    file = folder / "8.dcm"
    file.write_bytes(file.read_bytes()[:500])


def no_pixels(folder: Path) -> None:
    stack(folder)
    position = np.array([0, 0, 99.0])
    write_slice(folder / "9.dcm", voxels(1, 16, 16)[0], AXIAL, position, 9, PixelData=None)


def not_dicom(folder: Path) -> None:
    stack(folder)
    (folder / "9.dcm").write_bytes(b"a note")
    (folder / "10.dcm").write_bytes(b"")


def colour(folder: Path) -> None:
    stack(folder, PhotometricInterpretation="RGB", SamplesPerPixel=3)


def huge(folder: Path) -> None:
    stack(folder)
    position = np.array([0, 0, 99.0])
    sizes = {"Rows": 60000, "Columns": 60000}
    write_slice(folder / "9.dcm", voxels(1, 16, 16)[0], AXIAL, position, 9, **sizes)


def wrong_plane(folder: Path) -> None:
    write_stack(folder, voxels(8, 16, 16), SAGITTAL)


def scout(folder: Path) -> None:
    stack(folder)
    write_stack(folder, voxels(2, 16, 16), SAGITTAL, start=20)


def series_table(tmp_path: Path, rows: list[dict[str, object]]) -> Path:
    table = pd.DataFrame(
        [
            {
                "split": "train",
                "plane": "axial",
                "weighting": "t2",
                "folder": f"train_images/{row['study']}/{row['series']}",
                "file_count": 8,
                "shard": 0,
                "problem": None,
                **row,
            }
            for row in rows
        ]
    )
    write_table(tmp_path / "series.parquet", table, SERIES)
    return tmp_path / "series.parquet"


def make_cohort(tmp_path: Path) -> Path:
    """Study 1: a whole and a truncated series; 2: of another study, a problem; 3: strange path."""
    images = tmp_path / "train_images"
    stack(images / "1" / "10")
    truncated(images / "1" / "11")
    stack(images / "2" / "20", StudyInstanceUID="2")
    stack(images / "2" / "21", StudyInstanceUID="999")
    stack(images / "3" / "30")
    rows = [
        {"study": "1", "series": "10"},
        {"study": "1", "series": "11"},
        {"study": "2", "series": "20"},
        {"study": "2", "series": "21"},
        {"study": "2", "series": "22", "problem": "EMPTY_SERIES", "file_count": 0},
        {"study": "3", "series": "30", "folder": "../3/30"},
    ]
    return series_table(tmp_path, rows)
