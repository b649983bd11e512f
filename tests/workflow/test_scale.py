"""The number of jobs hangs on shards, folds and models, not on studies."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "benchmarks"))

import dry_run  # noqa: E402


@pytest.mark.workflow
def test_ten_times_the_studies_are_the_same_jobs(tmp_path: Path) -> None:
    shards, folds = 3, 2
    counts = []
    for studies in (20, 200):
        folder = tmp_path / str(studies)
        dry_run.deliver(folder / "data", studies, series=3, files=2)
        config = {
            "cohort": {"name": "mine", "kind": "kaggle_rsna2024", "root": "data", "folds": folds},
            "runtime": {"shards": shards},
        }
        (folder / "mine.yaml").write_text(yaml.safe_dump(config))
        _, _, words = dry_run.snakemake(folder, "--dry-run")
        counts.append(int(dry_run.jobs_in(words)))
    # Tables 2, mean shape, prediction, ensemble, submission, report, all: 8. Keypoint errors of
    # three detectors: 3. A shard: conversion, landmarks, three detectors, four sets of crops. A
    # fold: three detectors and one classifier.
    assert counts == [8 + 3 + 9 * shards + 4 * folds] * 2
