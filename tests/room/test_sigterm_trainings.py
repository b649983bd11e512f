"""Every training that is told to end (SIGTERM) keeps its state at once and ends by that signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import one_stage_helpers
import pytest
import regressor_helpers
import test_classifiers_training as classifiers
import test_keypoints_training as keypoints
import torch
import two_stage_helpers
from keypoint_helpers import write_canal_cohort
from killing import Killed, killed_at, told_to_end_at
from spinegrade.training.average import MovingAverage

# Trains one fold in a folder of its own; returns the weights' path.
Train = Callable[[Path], Path]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def of_keypoints(data: Path) -> Train:
    paths = write_canal_cohort(data, studies=12)
    block = keypoints.detector(epochs=2, checkpoint_epochs=2)
    return lambda folder: keypoints.train(folder, paths, 0, block)


def of_classifiers(data: Path) -> Train:
    cells, chosen = classifiers.make_cells(data), classifiers.settings(epochs=2, dropout=0.3)
    return lambda folder: classifiers.train(folder, cells, 1, chosen, code="a")


def of_one_stage(data: Path) -> Train:
    cohort = one_stage_helpers.write_cohort(data, "foraminal", 8)
    settings = one_stage_helpers.small("foraminal", training={"epochs": 2})
    return lambda folder: Path(one_stage_helpers.train(folder, cohort, settings, 1))


def of_regressors(data: Path) -> Train:
    cohort = regressor_helpers.write_spines(data, 8)
    settings = regressor_helpers.small(training={"epochs": 2, "batch_size": 2})
    return lambda folder: Path(regressor_helpers.train(folder, cohort, settings, 1))


def of_two_stage(data: Path) -> Train:
    cohort = two_stage_helpers.write_cohort(data)
    settings = two_stage_helpers.small(training={"batch_size": 2})
    return lambda folder: Path(two_stage_helpers.train(folder, cohort, settings, 1))


# By room, what is called once a step, and the steps of an epoch; there are two epochs.
ROOMS = {
    "keypoints": (of_keypoints, (keypoints.TRAINER, "_average"), 3),
    "classifiers": (of_classifiers, (MovingAverage, "update"), 4),
    "one_stage": (of_one_stage, (MovingAverage, "update"), 2),
    "regressors": (of_regressors, (MovingAverage, "update"), 2),
    "two_stage": (of_two_stage, (MovingAverage, "update"), 2),
}


@pytest.mark.parametrize("room", ROOMS)
def test_what_was_done_is_kept_and_the_rest_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    make, once_a_step, steps = ROOMS[room]
    train = make(tmp_path)
    (whole := tmp_path / "whole").mkdir()
    expected = train(whole).read_bytes()
    before = signal.getsignal(signal.SIGTERM)
    # In the middle of an epoch, and at the last step of one.
    for call in (1, steps):
        (folder := tmp_path / f"at_{call}").mkdir()
        with monkeypatch.context() as patch, pytest.raises(Killed):
            told_to_end_at(patch, *once_a_step, call)
            train(folder)
        # The usual checkpoint would be after five minutes, or after an epoch.
        assert list(folder.rglob("*.pt")) and not list(folder.rglob("*.safetensors"))
        assert signal.getsignal(signal.SIGTERM) == before
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        with monkeypatch.context() as patch:
            done = killed_at(patch, *once_a_step, -1)
            assert train(folder).read_bytes() == expected
        assert len(done) == 2 * steps - call, "what was done and kept was done again"


TOLD_TO_END = """
import json, os, signal, sys
from pathlib import Path
import test_keypoints_training as tests
average, calls = tests.TRAINER._average, []
def told(*arguments):
    calls.append(1)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGTERM)
    average(*arguments)
tests.TRAINER._average = told
tests.train(Path(sys.argv[1]), json.loads(sys.argv[2]), 0, tests.detector(epochs=3))
"""


def test_the_process_ends_by_the_signal_and_not_by_finishing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths, block = write_canal_cohort(tmp_path, studies=12), keypoints.detector(epochs=3)
    command = [sys.executable, "-c", TOLD_TO_END, str(tmp_path), json.dumps(paths)]
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGTERM, done.stderr
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    assert f"told to end by SIGTERM; kept before: {checkpoint}" in done.stderr
    (whole := tmp_path / "whole").mkdir()
    expected = keypoints.made(keypoints.train(whole, paths, 0, block))
    caplog.set_level("INFO")
    assert keypoints.made(keypoints.train(tmp_path, paths, 0, block)) == expected
    assert "goes on after epoch 1 of 3 and 2 of 3 steps" in caplog.text
