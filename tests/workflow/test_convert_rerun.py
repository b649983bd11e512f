"""A study that joins a delivered cohort converts its own shard again, and no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from delivered_cohort import deliver
from spinegrade.shards import shard_of

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.workflow


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
    deliver(tmp_path / "data", first, slices=4)
    snakemake(tmp_path)
    assert "Nothing to be done" in snakemake(tmp_path, "--dry-run")
    deliver(tmp_path / "data", [*first, by_shard[1][2]], slices=4)
    planned = snakemake(tmp_path, "--dry-run")
    assert "Converting the DICOM series of shard 1" in planned
    assert "Locating the annotated points of shard 1" in planned
    assert "shard 0" not in planned
