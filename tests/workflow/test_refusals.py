"""A configuration that cannot be used ends the run before the DAG is built, in one message."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.workflow


def dry_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
    command += ["--workflow-profile", str(PROJECT / "profiles" / "default")]
    command += ["--directory", str(folder), "--dry-run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_default_run_plans_every_room(tmp_path: Path) -> None:
    done = dry_run(tmp_path)
    assert done.returncode == 0, done.stderr
    planned = done.stdout + done.stderr
    for rule in (
        "make_phantom",
        "index_cohort",
        "split_folds",
        "convert_dicom",
        "locate_landmarks",
        "fit_mean_shape",
        "train_keypoints",
        "infer_keypoints",
        "measure_keypoints",
        "crop_rois",
        "train_classifier",
        "predict_classifier",
        "fit_ensemble",
        "write_submission",
        "write_report",
    ):
        assert rule in planned, f"{rule} is not planned"


def test_a_misspelt_key_is_refused_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("cohort:\n  flods: 5\n")
    done = dry_run(tmp_path, "--configfile", str(file))
    assert done.returncode != 0
    words = done.stdout + done.stderr
    assert "cohort.flods" in words and "did you mean folds?" in words


def test_a_real_cohort_without_its_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("cohort:\n  name: mine\n  kind: kaggle_rsna2024\n  root: nowhere\n")
    done = dry_run(tmp_path, "--configfile", str(file))
    assert done.returncode != 0
    assert "cohort.root is 'nowhere': there is no such folder" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("setting", "flag"),
    [
        ("set-resources", "train_clasifier:mem_mb=3"),
        ("set-threads", "train_clasifier=3"),
        ("groups", "train_clasifier=a"),
    ],
)
def test_a_setting_for_a_rule_that_is_none_is_refused(
    tmp_path: Path, setting: str, flag: str
) -> None:
    done = dry_run(tmp_path, f"--{setting}", flag)
    words = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in words
    assert f"{setting} speaks of 'train_clasifier'" in words
    assert "did you mean train_classifier?" in words


def test_a_rule_that_this_cohort_leaves_out_may_be_spoken_of(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("cohort: {name: mine, kind: kaggle_rsna2024, root: data}\n")
    (tmp_path / "data").mkdir()
    done = dry_run(tmp_path, "--configfile", str(file), "--set-threads", "make_phantom=1")
    assert "speaks of" not in done.stdout + done.stderr


def test_an_unknown_profile_key_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("cores: 1\nretires: 2\n")
    done = dry_run(tmp_path, "--profile", str(tmp_path))
    assert done.returncode != 0
    assert done.stderr.rstrip().endswith("unrecognized arguments: --retires=2")
