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
    deliver(tmp_path / "data", list(STUDIES), slices=5, without=STUDIES[-1:])
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
