"""A configuration that cannot be used ends the run before the DAG is built, in one message."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.workflow


def snakemake(
    folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
    command += ["--workflow-profile", str(PROJECT / "profiles" / "default")]
    command += ["--directory", str(folder), *arguments]
    given = {**os.environ, **environment}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=given
    )


def dry_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return snakemake(folder, "--dry-run", *arguments)


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """What a refused run ends with, a sentence and no trace."""
    words = done.stderr + done.stdout
    assert done.returncode != 0 and "Traceback" not in words and "  File " not in words
    return "Error: " + words.rpartition("\nError: ")[2].rstrip()


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
        "train_localiser",
        "infer_localiser",
        "measure_localiser",
        "crop_rois",
        "train_grader",
        "predict_grader",
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
        ("set-resources", "train_gradr:mem_mb=3"),
        ("set-threads", "train_gradr=3"),
        ("groups", "train_gradr=a"),
    ],
)
def test_a_setting_for_a_rule_that_is_none_is_refused(
    tmp_path: Path, setting: str, flag: str
) -> None:
    done = dry_run(tmp_path, f"--{setting}", flag)
    words = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in words
    assert f"{setting} speaks of 'train_gradr'" in words
    assert "did you mean train_grader?" in words


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


def test_a_misspelt_target_gets_the_likely_one(tmp_path: Path) -> None:
    assert last_words(dry_run(tmp_path, "draw_dga")).startswith(
        "Error: no rule and no file that a rule makes is called 'draw_dga'; did you mean draw_dag?"
    )
    assert last_words(dry_run(tmp_path, "train_grader")).startswith(
        "Error: train_grader runs once for each fold and learner, so its name alone is"
    )


def test_an_unquoted_config_and_an_absent_file_get_a_sentence(tmp_path: Path) -> None:
    assert last_words(dry_run(tmp_path, "--config", "cohort={name:", "x}")).endswith(
        "put quotes around the whole: --config 'cohort={name: x}'"
    )
    assert last_words(dry_run(tmp_path, "--configfile", "gone.yaml")).startswith(
        "Error: --configfile gone.yaml cannot be read (No such file or directory)"
    )


def test_numbers_on_the_command_line_are_numbers_and_a_home_may_be_closed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    closed = {"HOME": str(tmp_path / "file" / "home"), "XDG_CACHE_HOME": ""}
    config = (
        "--config",
        "cohort={folds: 4}",
        "learners={small: {training: {learning_rate: 2e-3}}}",
    )
    done = snakemake(tmp_path, "--dry-run", *config, **closed)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Training small on all studies outside fold 3") == 1
    assert "home/.cache cannot be written, so caches go to" in done.stderr


def test_cuda_without_a_gpu_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    arguments = ("--cores", "1", "--config", "runtime={device: cuda}")
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    refused = snakemake(tmp_path, *arguments, **hidden)
    assert last_words(refused).startswith(
        "Error: runtime.device is cuda, but there is no GPU (CUDA_VISIBLE_DEVICES=); set"
    )
    made = {path.name for path in (tmp_path / "results" / "phantom_lumbar").iterdir()}
    assert made <= {".run_lock", "version.json", "runs", "status"}
    assert list((tmp_path / "results" / "phantom_lumbar" / "runs").iterdir()) == []
    # A dry run only says so, and what needs no GPU is not concerned.
    planned = snakemake(tmp_path, "--dry-run", *arguments, **hidden)
    assert planned.returncode == 0 and "cuda, but there is no GPU" in planned.stdout
    beside = snakemake(tmp_path, "--dry-run", *arguments, "--", "draw_dag", **hidden)
    assert beside.returncode == 0 and "no GPU" not in beside.stdout
