"""A run that is killed with all its processes ends, by the same one command, in the same bytes."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "benchmarks"))

import chaos  # noqa: E402

TARGET = "results/chaos/localise/sagittal_t1/fold_0/weights.safetensors"
CONFIG = {
    "cohort": {"name": "chaos", "folds": 2, "fold_salt": 0},
    "phantom": {"studies": 4, "test_studies": 0, "seed": 5, "scale": 0.5},
    "runtime": {"shards": 1, "checkpoint_minutes": 0},
    "learners": {"sagittal_t1": {"training": {"epochs": 12, "batch_size": 2}}},
}


@pytest.mark.workflow
def test_two_kills_cost_no_byte_and_no_finished_job(tmp_path: Path) -> None:
    config = tmp_path / "chaos.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    command = [sys.executable, str(PROJECT / "benchmarks" / "chaos.py"), "kill", "--times", "2"]
    command += ["--seed", "6", "--configfile", str(config), "--keep", str(tmp_path / "work")]
    done = subprocess.run([*command, "--", TARGET], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert re.search(r"^2 kills; by rule: ", done.stdout, re.MULTILINE), done.stdout
    counts = re.search(r"^(\d+) of (\d+) files equal", done.stdout, re.MULTILINE)
    assert counts and counts[1] == counts[2] and int(counts[1]) > 20


def run_of(folder: Path, weights: bytes) -> chaos.Run:
    file = folder / "results" / "cohort" / "keypoints" / "weights.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(weights)
    return chaos.Run(folder, [])


def test_what_chaos_calls_wrong(tmp_path: Path) -> None:
    reference, other = run_of(tmp_path / "a", b"1"), run_of(tmp_path / "b", b"2")
    assert chaos.compare(reference, run_of(tmp_path / "c", b"1")) == []
    other.lost.append("Training")
    (tmp_path / "b" / ".part-x.npy").touch()
    (tmp_path / "b" / "results" / "cohort" / "keypoints" / "more.csv").touch()
    wrong = "\n".join(chaos.compare(reference, other))
    assert "keypoints/weights.safetensors differs" in wrong
    assert "keypoints/more.csv is not in the reference" in wrong
    assert "finished before, but done again: Training" in wrong
    assert "left behind: " in wrong and ".part-x.npy" in wrong


def test_moments_are_told_by_what_was_finished(tmp_path: Path) -> None:
    attempt = chaos.Attempt(None, tmp_path, finished_at=[10.0, 20.0])
    found = chaos.moments(attempt, 30.0, 200, random.Random(1))
    assert found == sorted(found) and {count for count, _ in found} == {0, 1, 2}
    assert all(0 <= delay <= 10 for _, delay in found)


def test_an_output_is_read_as_snakemake_writes_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "Job 3: Making a cohort\nReason: x\nJob 4: Reading\nFinished jobid: 3 (Rule: r)\n"
    )
    attempt = chaos.Attempt(None, log)
    assert attempt.finished() == {"Making a cohort": "r"} and len(attempt.finished_at) == 1
    run = chaos.Run(tmp_path, [])
    assert run.note(attempt) == ["Reading"] and run.lost == []
    run.note(attempt)
    assert run.lost == ["Making a cohort"]
