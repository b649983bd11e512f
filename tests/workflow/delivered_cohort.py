"""A small cohort in the layout of the RSNA 2024 data."""

from __future__ import annotations

import csv
import sys
from collections.abc import Collection
from pathlib import Path

from spinegrade.regions.lumbar_mri import LUMBAR_CELLS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "room"))

from dicom_helpers import AXIAL, SAGITTAL, voxels, write_stack

SERIES = (("Sagittal T1", SAGITTAL), ("Sagittal T2/STIR", SAGITTAL), ("Axial T2", AXIAL))


def deliver(root: Path, studies: list[str], slices: int, without: Collection[str] = ()) -> None:
    """Three series of ``slices`` a study, those ``without`` images aside, and the three tables.

    Series whose folder stands are left as they are.
    """
    series = [["study_id", "series_id", "series_description"]]
    points = [["study_id", "series_id", "instance_number", "condition", "level", "x", "y"]]
    labels = [["study_id", *(cell.column for cell in LUMBAR_CELLS)]]
    for study in studies:
        labels.append([study, *["Normal/Mild"] * 25])
        for number, (description, orientation) in enumerate(SERIES):
            name = f"{study}{number}"
            series.append([study, name, description])
            folder = root / "train_images" / study / name
            if study not in without and not folder.exists():
                write_stack(folder, voxels(slices, 16, 16), orientation, shuffle=None)
        points.append([study, f"{study}1", 2, "Spinal Canal Stenosis", "L1/L2", 5.0, 6.0])
    for name, rows in (
        ("train_series_descriptions.csv", series),
        ("train_label_coordinates.csv", points),
        ("train.csv", labels),
    ):
        with (root / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
