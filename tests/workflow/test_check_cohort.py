"""The check of a delivered cohort: two jobs, the planted fault named, nothing to do again."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from spinegrade import names

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests" / "room"))

from dicom_helpers import AXIAL, SAGITTAL, voxels, write_stack  # noqa: E402

pytestmark = pytest.mark.workflow
SERIES = (("Sagittal T1", SAGITTAL), ("Sagittal T2/STIR", SAGITTAL), ("Axial T2", AXIAL))
STUDIES = ("1001", "1002", "1003")


def write_rows(path: Path, rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def deliver(root: Path) -> None:
    """Three studies in the layout of the RSNA 2024 data; the last has no images."""
    series = [["study_id", "series_id", "series_description"]]
    points = [["study_id", "series_id", "instance_number", "condition", "level", "x", "y"]]
    labels = [["study_id", *(cell.column for cell in names.LUMBAR_CELLS)]]
    for study in STUDIES:
        labels.append([study, *["Normal/Mild"] * 25])
        for number, (description, orientation) in enumerate(SERIES):
            series.append([study, f"{study}{number}", description])
            if study != STUDIES[-1]:
                folder = root / "train_images" / study / f"{study}{number}"
                write_stack(folder, voxels(5, 16, 16), orientation, shuffle=None)
        points.append([study, f"{study}1", 2, "Spinal Canal Stenosis", "L1/L2", 5.0, 6.0])
    write_rows(root / "train_series_descriptions.csv", series)
    write_rows(root / "train_label_coordinates.csv", points)
    write_rows(root / "train.csv", labels)


def snakemake(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
    command += ["--workflow-profile", str(PROJECT / "profiles" / "default"), "--cores", "2"]
    command += ["--directory", str(folder), *arguments]
    command += ["--configfile", str(folder / "mine.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def rules_in(words: str) -> set[str]:
    """The rules in Snakemake's table of jobs."""
    return set(re.findall(r"^(\w+) +\d+$", words, re.MULTILINE)) - {"total"}


def test_the_check_reads_headers_names_what_is_wrong_and_runs_once(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        f"cohort: {{name: mine, kind: kaggle_rsna2024, root: {tmp_path / 'data'}, folds: 2}}\n"
    )
    deliver(tmp_path / "data")
    file = tmp_path / "data" / "train_images" / "1002" / "10022" / "5.dcm"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])

    words = snakemake(tmp_path, "check_cohort")
    assert rules_in(words) == {"index_cohort", "check_cohort"}
    assert "1 of 3 studies can be used whole; 1 in part, 1 not at all." in words
    folder = tmp_path / "results" / "mine" / "check"
    rejected = pd.read_parquet(folder / "rejected.parquet")
    assert rejected["code"].tolist() == ["STUDY_WITHOUT_IMAGES", "TRUNCATED"]
    row = rejected.iloc[1]
    assert (row["study"], row["series"], row["file"]) == ("1002", "10022", "5.dcm")
    verdicts = pd.read_parquet(folder / "verdicts.parquet").set_index("series")
    assert verdicts["verdict"].value_counts().to_dict() == {"good": 5, "refused": 3, "partial": 1}
    assert verdicts.loc["10022", ["files", "slices"]].tolist() == [5, 4]
    page = (folder / "check_cohort.html").read_text()
    assert "TRUNCATED" in page and "5.dcm" in page

    assert "Nothing to be done" in snakemake(tmp_path, "--dry-run", "check_cohort")
    file.write_bytes(whole)
    assert "check_cohort" in rules_in(snakemake(tmp_path, "--dry-run", "check_cohort"))
    assert "check_cohort" not in rules_in(snakemake(tmp_path, "--dry-run"))
