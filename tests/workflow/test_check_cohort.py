"""The check of a delivered cohort: two jobs, the planted fault named, nothing to do again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from delivered_cohort import deliver

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.workflow
STUDIES = ("1001", "1002", "1003")
# Beside one canal point of each study, on instance 2 at (5, 6) px.
CONTRADICTING = (
    "1001,10012,2,Left Subarticular Stenosis,L4/L5,2,8",
    "1001,10012,2,Right Subarticular Stenosis,L4/L5,12,8",
    "1001,10010,2,Spinal Canal Stenosis,L5/S1,8,8",
    "1001,10010,2,Left Neural Foraminal Narrowing,L1/L2,8,99",
    "1002,10021,3,Spinal Canal Stenosis,L1/L2,5,6",
    # Its file is cut short.
    "1002,10022,5,Left Subarticular Stenosis,L3/L4,8,8",
)


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


def located(folder: Path) -> set[tuple[str, str]]:
    """Studies and levels of the points that are located after conversion."""
    files = [f"results/mine/convert/{shard}/landmarks.parquet" for shard in (0, 1)]
    snakemake(folder, *files)
    table = pd.concat([pd.read_parquet(folder / file) for file in files])
    return set(table[["study", "level"]].itertuples(index=False, name=None))


def test_the_check_reads_headers_names_what_is_wrong_and_runs_once(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        f"cohort: {{name: mine, kind: kaggle_rsna2024, root: {tmp_path / 'data'}, folds: 2}}\n"
    )
    deliver(tmp_path / "data", list(STUDIES), slices=5, without=STUDIES[-1:])
    file = tmp_path / "data" / "train_images" / "1002" / "10022" / "5.dcm"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with (tmp_path / "data" / "train_label_coordinates.csv").open("a") as table:
        table.writelines(f"{row}\n" for row in CONTRADICTING)

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
    told = pd.read_parquet(folder / "annotations.parquet")
    assert [tuple(row) for row in told[["study", "series", "level", "code"]].to_numpy()] == [
        # The row of 1002 that stands there without a fault comes first in the table.
        ("1002", "10021", "l1_l2", "LANDMARK_TWICE"),
        ("1001", "10012", "l4_l5", "LANDMARK_SIDES_EXCHANGED"),
        ("1001", "10012", "l4_l5", "LANDMARK_SIDES_EXCHANGED"),
        ("1001", "10010", "l5_s1", "LANDMARK_OTHER_KIND"),
        ("1001", "10010", "l1_l2", "LANDMARK_OUTSIDE_IMAGE"),
        ("1002", "10021", "l1_l2", "LANDMARK_TWICE"),
        ("1002", "10022", "l3_l4", "LANDMARK_WITHOUT_SLICE"),
    ]
    assert told["left_out"].all()
    assert "7 of 8 annotated points contradict others or their images; 7 are left out" in words
    for code in told["code"]:
        assert code in page

    assert "Nothing to be done" in snakemake(tmp_path, "--dry-run", "check_cohort")
    file.write_bytes(whole)
    assert "check_cohort" in rules_in(snakemake(tmp_path, "--dry-run", "check_cohort"))
    assert "check_cohort" not in rules_in(snakemake(tmp_path, "--dry-run"))

    # The mended file has a slice 5 again.
    assert located(tmp_path) == {("1001", "l1_l2"), ("1002", "l3_l4")}
    with (tmp_path / "mine.yaml").open("a") as config:
        config.write("annotations: {leave_out: [LANDMARK_OTHER_KIND]}\n")
    # Of two points of a cell the first row counts.
    kept = {("1001", "l1_l2"), ("1001", "l4_l5"), ("1002", "l1_l2"), ("1002", "l3_l4")}
    assert located(tmp_path) == kept
