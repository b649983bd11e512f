"""A study that joins a delivered cohort converts its own shard again, and no other."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from spinegrade import names
from spinegrade.shards import shard_of

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests" / "room"))

from dicom_helpers import AXIAL, SAGITTAL, voxels, write_stack  # noqa: E402

pytestmark = pytest.mark.workflow
SERIES = (("Sagittal T1", SAGITTAL), ("Sagittal T2/STIR", SAGITTAL), ("Axial T2", AXIAL))


def write_rows(path: Path, rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def deliver(root: Path, studies: list[str]) -> None:
    """A cohort in the layout of the RSNA 2024 data, three small series a study."""
    series = [["study_id", "series_id", "series_description"]]
    points = [["study_id", "series_id", "instance_number", "condition", "level", "x", "y"]]
    labels = [["study_id", *(cell.column for cell in names.LUMBAR_CELLS)]]
    for study in studies:
        labels.append([study, *["Normal/Mild"] * 25])
        for number, (description, orientation) in enumerate(SERIES):
            name = f"{study}{number}"
            series.append([study, name, description])
            folder = root / "train_images" / study / name
            if not folder.exists():
                write_stack(folder, voxels(4, 16, 16), orientation)
        points.append([study, f"{study}1", 2, "Spinal Canal Stenosis", "L1/L2", 5.0, 6.0])
    write_rows(root / "train_series_descriptions.csv", series)
    write_rows(root / "train_label_coordinates.csv", points)
    write_rows(root / "train.csv", labels)


def snakemake(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
    command += ["--workflow-profile", str(PROJECT / "profiles" / "default"), "--cores", "2"]
    command += ["--directory", str(folder), "--configfile", str(folder / "mine.yaml"), *arguments]
    command += ["--", *(f"results/mine/convert/{shard}/landmarks.parquet" for shard in range(2))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_only_the_shard_of_a_new_study_is_converted_again(tmp_path: Path) -> None:
    by_shard = {shard: [s for s in map(str, range(1001, 1020)) if shard_of(s, 2) == shard]
                for shard in (0, 1)}  # fmt: skip
    first = [*by_shard[0][:2], *by_shard[1][:2]]
    (tmp_path / "mine.yaml").write_text(
        f"cohort: {{name: mine, kind: kaggle_rsna2024, root: {tmp_path / 'data'}, folds: 2}}\n"
        "runtime: {shards: 2}\n"
    )
    deliver(tmp_path / "data", first)
    snakemake(tmp_path)
    assert "Nothing to be done" in snakemake(tmp_path, "--dry-run")
    deliver(tmp_path / "data", [*first, by_shard[1][2]])
    planned = snakemake(tmp_path, "--dry-run")
    assert "Converting the DICOM series of shard 1" in planned
    assert "Locating the annotated points of shard 1" in planned
    assert "shard 0" not in planned
