"""Training resumes to the same bytes, finds dots out of fold, and its error is measured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from keypoint_helpers import write_canal_cohort
from killing import Killed, killed_at
from spinegrade.errors import SpinegradeError
from spinegrade.localise.heatmap import training
from spinegrade.localise.heatmap.measure import measure_keypoints, point_errors, summary
from spinegrade.localise.heatmap.stages import infer_keypoints
from spinegrade.losses.registry import build as build_loss
from spinegrade.runtime.files import read_json
from spinegrade.settings import SCHEMA_FOLDER, _fill_defaults
from spinegrade.tables import read_table, write_table
from spinegrade.volumes import load_stacks

NAME = "t2"


def detector(**changes: object) -> dict:
    block: dict = {
        "target": "canal",
        "architecture": {"name": "heatmap_unet", "width": 8, "depth": 3},
        "grid": {"slices": 6, "rows": 32, "cols": 16, "pixel_mm": 5.0, "slice_mm": 5.0},
        "training": {"epochs": 50, "batch_size": 2, "checkpoint_epochs": 2, "learning_rate": 0.02},
        "augmentation": {"shift_mm": 6, "scale": 0.05, "slice_shift_mm": 3, "slice_scale": 0},
    }
    config = {"detectors": {NAME: block}}
    _fill_defaults(yaml.safe_load((SCHEMA_FOLDER / "keypoints.yaml").read_text()), config)
    block["training"] |= changes
    return block


def train(
    folder: Path, paths: dict[str, str], fold: int, block: dict, out: str = "run", **more: object
) -> Path:
    weights = folder / out / f"fold_{fold}" / "weights.safetensors"
    training.train_keypoints(
        name=NAME,
        fold=fold,
        detector=block,
        studies_path=paths["studies"],
        folds_path=paths["folds"],
        stacks_paths=[paths["stacks"]],
        landmarks_paths=[paths["located_landmarks"]],
        weights_path=str(weights),
        history_path=str(weights.with_name("history.csv")),
        checkpoint_path=str(folder / out / "checkpoint.pt"),
        seed=7,
        device="cpu",
        **{"code": "code", "math_threads": 1, "checkpoint_minutes": 5.0} | more,
    )
    return weights


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("canal")
    return folder, write_canal_cohort(folder, studies=12)


def made(weights: Path) -> tuple[bytes, bytes]:
    return weights.read_bytes(), weights.with_name("history.csv").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(cohort: tuple[Path, dict[str, str]]) -> tuple[bytes, bytes]:
    first = made(train(*cohort, 0, detector(epochs=3), "whole"))
    assert made(train(*cohort, 0, detector(epochs=3), "again")) == first
    return first


# Six samples in batches of two: three steps an epoch, nine in all; one average a step.
TRAINER = training.DetectorTrainer
MOMENTS = {
    "before the first step": (TRAINER, "_average", 1, 0),
    "in the first epoch": (TRAINER, "_average", 3, 2),
    "in the second epoch": (TRAINER, "_average", 6, 5),
    "at the last step": (TRAINER, "_average", 9, 8),
    "while a checkpoint is written": (os, "fsync", 5, 4),
    "before the weights are written": (training, "save_detector", 1, 9),
    "between weights and history": (training, "write_text", 1, 9),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_training_ends_in_the_same_bytes(
    cohort: tuple[Path, dict[str, str]],
    undisturbed: tuple[bytes, bytes],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    owner, name, call, kept = MOMENTS[moment]
    out = moment.replace(" ", "_")
    block = detector(epochs=3)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, owner, name, call)
        train(*cohort, 0, block, out, checkpoint_minutes=0)
    checkpoint = cohort[0] / out / "checkpoint.pt"
    assert checkpoint.exists() == (kept > 0)
    with monkeypatch.context() as patch:
        steps = killed_at(patch, TRAINER, "_average", -1)
        weights = train(*cohort, 0, block, out)
    assert len(steps) == 9 - kept, "what was done and kept was done again"
    assert made(weights) == undisturbed and not checkpoint.exists()


KILLS_ITSELF = """
import json, os, signal, sys
from pathlib import Path
import test_keypoints_training as tests
average, calls = tests.TRAINER._average, []
def killed(*arguments):
    calls.append(1)
    if len(calls) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    average(*arguments)
tests.TRAINER._average = killed
block = tests.detector(epochs=3)
cohort = Path(sys.argv[1]), json.loads(sys.argv[2])
tests.train(*cohort, 0, block, "sigkill", checkpoint_minutes=0)
"""


def test_a_process_killed_outright_ends_in_the_same_bytes(
    cohort: tuple[Path, dict[str, str]],
    undisturbed: tuple[bytes, bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    command = [sys.executable, "-c", KILLS_ITSELF, str(cohort[0]), json.dumps(cohort[1])]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": ":".join(sys.path)}, check=False)
    assert done.returncode == -signal.SIGKILL
    caplog.set_level("INFO")
    assert made(train(*cohort, 0, detector(epochs=3), "sigkill")) == undisturbed
    assert "goes on after epoch 1 of 3 and 2 of 3 steps" in caplog.text


def test_a_checkpoint_is_kept_every_so_many_epochs(
    cohort: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        saved = killed_at(patch, training.Checkpoint, "save", -1)
        train(*cohort, 0, detector(epochs=5), "often")
    assert len(saved) == 3  # after the second, the fourth and the last epoch


def test_a_checkpoint_of_another_training_is_refused_by_name(
    cohort: tuple[Path, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, paths = cohort
    landmarks = read_table(paths["located_landmarks"], "located_landmarks")
    fewer = folder / "fewer.parquet"
    write_table(fewer, landmarks[landmarks["study"] != "s03"], "located_landmarks")
    once = detector(epochs=1)
    cases = (
        ({"code": "other"}, paths, once, "other code: training starts anew"),
        ({}, paths, detector(epochs=1, loss="other"), "settings (training.loss 'point_"),
        ({}, paths | {"located_landmarks": str(fewer)}, once, "other data: training starts"),
        ({"math_threads": 2}, paths, once, "other math_threads (1, now 2)"),
    )
    monkeypatch.setattr(
        training, "build_loss", lambda _, **options: build_loss("point_cross_entropy", **options)
    )
    for more, given, block, words in cases:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            killed_at(patch, training, "save_detector", 1)
            train(folder, paths, 0, once, "stray")
        caplog.clear()
        train(folder, given, 0, block, "stray", **more)
        assert words in caplog.text


def test_how_often_is_saved_makes_no_other_training(
    cohort: tuple[Path, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, training, "save_detector", 1)
        train(*cohort, 0, detector(epochs=2), "seldom")
    caplog.clear()
    train(*cohort, 0, detector(epochs=2, checkpoint_epochs=9), "seldom", checkpoint_minutes=60)
    assert "starts anew" not in caplog.text


def test_dots_are_found_out_of_fold_and_measured(cohort: tuple[Path, dict[str, str]]) -> None:
    folder, paths = cohort
    weights = [str(train(folder, paths, fold, detector())) for fold in (0, 1)]
    keypoints = folder / "keypoints.parquet"
    infer_keypoints(
        name=NAME,
        shard=0,
        studies_path=paths["studies"],
        folds_path=paths["folds"],
        stacks_path=paths["stacks"],
        weights_paths=weights,
        level_paths=[],
        keypoints_path=str(keypoints),
        rejected_path=str(folder / "rejected.parquet"),
        max_distance_mm=15,
        seed=7,
        math_threads=1,
        device="cpu",
    )
    table = read_table(keypoints, "keypoints")
    sources = table.groupby("study")["source"].agg(lambda s: "|".join(s.unique()))
    assert sources.to_dict() == {f"s{k:02d}": f"t2:fold_{k % 2}" for k in range(12)} | {
        "s12": "t2:mean"
    }
    assert read_table(folder / "rejected.parquet", "rejected").empty
    measure_keypoints(
        detector=NAME,
        targets=["canal"],
        keypoints_paths=[str(keypoints)],
        stacks_paths=[paths["stacks"]],
        landmarks_paths=[paths["located_landmarks"]],
        errors_path=str(folder / "errors.parquet"),
        summary_path=str(folder / "errors.json"),
    )
    figures = read_json(folder / "errors.json")
    assert figures["detector"] == NAME
    assert figures["points"] == 60 and figures["studies"] == 12
    assert figures["within_6_mm"] > 0.8
    assert 0 < figures["in_plane_sd_mm"] < 4 and 0 <= figures["slice_sd"] < 1


def test_an_empty_training_set_is_refused_by_name(
    cohort: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, paths = cohort
    landmarks = read_table(paths["located_landmarks"], "located_landmarks")
    empty = tmp_path / "landmarks.parquet"
    write_table(empty, landmarks.iloc[:0], "located_landmarks")
    with pytest.raises(SpinegradeError, match=r"detector t2, fold 1: none of the 6 training"):
        train(folder, paths | {"located_landmarks": str(empty)}, 1, detector())


def test_a_study_without_landmarks_is_left_out_and_listed(
    cohort: tuple[Path, dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    _, paths = cohort
    landmarks = read_table(paths["located_landmarks"], "located_landmarks")
    samples = training.training_samples(
        detector(),
        load_stacks([paths["stacks"]]),
        landmarks[landmarks["study"] != "s02"],
        ["s00", "s02", "s04"],
    )
    assert samples.studies == ("s00", "s04")
    assert "1 studies without" in caplog.text and "s02" in caplog.text


def test_errors_worked_out_by_hand(cohort: tuple[Path, dict[str, str]]) -> None:
    _, paths = cohort
    stacks = load_stacks([paths["stacks"]])
    known = read_table(paths["located_landmarks"], "located_landmarks")
    known = known[known["study"] == "s00"].reset_index(drop=True)
    moved = known.copy()
    moved["x_px"] += 1.0  # one column is 4 mm to the back
    moved["y_mm"] += 4.0
    one = moved.loc[0].copy()
    moved.loc[0, ["x_px", "y_px", "x_mm", "y_mm", "z_mm"]] = known.loc[
        1, ["x_px", "y_px", "x_mm", "y_mm", "z_mm"]
    ]
    errors = point_errors("t2", moved, known, stacks)
    assert one["level"] == "l1_l2"
    assert errors["level_shift"].tolist() == [1, 0, 0, 0, 0]
    np.testing.assert_allclose(errors["error_mm"][1:], 4.0)
    np.testing.assert_allclose(errors["error_in_plane_px"][1:], 1.0)
    np.testing.assert_allclose(errors["error_slices"][1:], 0.0)
    figures = summary(errors)
    assert figures["within_6_mm"] == 0.8 and figures["shifted_studies"] == ["s00"]
    assert figures["side_right"] is None
    # Truth has no series and no slice: the distance to the slice's plane counts instead.
    truth = known.drop(columns=["series", "stack", "index"])
    truth["x_mm"] += 2.5  # half a slice
    assert point_errors("t2", moved, truth, stacks)["error_slices"][1:].tolist() == pytest.approx(
        [-0.5] * 4
    )
