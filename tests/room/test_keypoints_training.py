"""Training resumes to the same bytes, finds dots out of fold, and its error is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from keypoint_helpers import write_canal_cohort
from spinegrade.errors import SpinegradeError
from spinegrade.keypoints import training
from spinegrade.keypoints.measure import point_errors, summary
from spinegrade.keypoints.stages import infer_keypoints, measure_keypoints
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
        "training": {"epochs": 50, "batch_size": 4, "checkpoint_epochs": 2, "learning_rate": 0.02},
        "augmentation": {"shift_mm": 6, "scale": 0.05, "slice_shift_mm": 3, "slice_scale": 0},
    }
    config = {"detectors": {NAME: block}}
    _fill_defaults(yaml.safe_load((SCHEMA_FOLDER / "keypoints.yaml").read_text()), config)
    block["training"] |= changes
    return block


def train(folder: Path, paths: dict[str, str], fold: int, block: dict, out: str = "run") -> Path:
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
        code="code",
        seed=7,
        math_threads=1,
        device="cpu",
    )
    return weights


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("canal")
    return folder, write_canal_cohort(folder, studies=12)


def test_a_resumed_training_ends_in_the_same_bytes(
    cohort: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, paths = cohort
    block = detector(epochs=4)
    whole = train(folder, paths, 0, block, "whole").read_bytes()
    again = train(folder, paths, 0, block, "again").read_bytes()
    assert whole == again

    average, calls = training._average, []

    def killed(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 6:  # the third epoch's second step
            raise KeyboardInterrupt
        average(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "_average", killed)
        with pytest.raises(KeyboardInterrupt):
            train(folder, paths, 0, block, "resumed")
    checkpoint = folder / "resumed" / "checkpoint.pt"
    assert torch.load(checkpoint, weights_only=True)["state"]["history"][-1][0] == 1
    calls.clear()
    monkeypatch.setattr(training, "_average", lambda *a: (calls.append(1), average(*a)))
    assert train(folder, paths, 0, block, "resumed").read_bytes() == whole
    assert len(calls) == 4  # two of four epochs, two steps each
    assert not checkpoint.exists()
    history = pd.read_csv(folder / "resumed" / "fold_0" / "history.csv")
    assert history["epoch"].tolist() == [0, 1, 2, 3]


def test_a_checkpoint_of_other_settings_is_passed_over(
    cohort: tuple[Path, dict[str, str]],
) -> None:
    folder, paths = cohort
    stray = folder / "stray" / "checkpoint.pt"
    stray.parent.mkdir()
    torch.save({"fingerprint": "other", "state": {"history": [[0]]}}, stray)
    weights = train(folder, paths, 0, detector(epochs=1), "stray")
    assert weights.exists() and not stray.exists()
    stray.write_bytes(b"cut off")
    train(folder, paths, 0, detector(epochs=1), "stray")


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
        targets={NAME: "canal"},
        keypoints_paths={NAME: [str(keypoints)]},
        stacks_paths=[paths["stacks"]],
        landmarks_paths=[paths["located_landmarks"]],
        errors_path=str(folder / "errors.parquet"),
        summary_path=str(folder / "errors.json"),
    )
    figures = read_json(folder / "errors.json")[NAME]
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
