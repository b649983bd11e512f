"""Training of regressors: schedules by hand, exact resuming, points out of fold and no leak."""

from __future__ import annotations

import math
import pydoc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from killing import Killed, killed_at
from regressor_helpers import infer, small, train, write_spines
from safetensors import safe_open
from spinegrade.errors import SpinegradeError
from spinegrade.localise.coordinates.coordinates import from_targets, to_targets
from spinegrade.localise.coordinates.inference import regress
from spinegrade.localise.coordinates.network import load_regressor, save_regressor
from spinegrade.localise.coordinates.samples import whole_look
from spinegrade.localise.coordinates.trainer import parameter_groups, rate_at
from spinegrade.localise.heatmap.measure import measure_keypoints, point_errors
from spinegrade.runtime.files import read_json
from spinegrade.tables import read_table, write_table
from spinegrade.training.average import MovingAverage
from spinegrade.volumes import load_stacks

CPU = torch.device("cpu")
# Four studies outside fold 1 in batches of two: two steps an epoch, six in all.
SHORT = {"epochs": 3, "batch_size": 2}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_spines(tmp_path_factory.mktemp("spines"), 8, lacking={"s02": ("t1",)})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cohort: dict[str, str]) -> list[str]:
    folder = tmp_path_factory.mktemp("trained")
    return [train(folder, cohort, small(training=SHORT), fold) for fold in range(2)]


def test_the_rate_rises_and_falls_as_published() -> None:
    # Ten epochs of ten steps, sized for thirteen: 10 steps of warm-up, 130 in all.
    rates = [rate_at(step, 10, 130, 0.475) for step in range(131)]
    assert rates[0] == 0 and rates[5] == 0.5 and rates[10] == 1
    assert rates[70] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.475)))
    assert rates[130] == pytest.approx(0.5 * (1 + math.cos(0.95 * math.pi)))


def test_biases_do_not_decay() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    decaying, free = parameter_groups(network, 1e-5)
    assert (decaying["weight_decay"], free["weight_decay"]) == (1e-5, 0.0)
    assert [p.shape for p in decaying["params"]] == [(3, 2), (3,)]
    assert [p.shape for p in free["params"]] == [(3,), (3,)]


def test_targets_in_the_published_units() -> None:
    joint = small(frame_px=512, image_px=256)
    points = torch.tensor([[[256.0, 128.0, 0.5]]])
    assert to_targets(points, joint)[0, 0].tolist() == [2.0, 1.0, 8.0]
    torch.testing.assert_close(from_targets(to_targets(points, joint), joint), points)
    later = small(frame_px=512, target_scale={"in_plane": 1, "slices": 1}, loss_weight=8)
    assert to_targets(points, later)[0, 0].tolist() == [0.5, 0.25, 0.5]
    assert later.loss_weight == 8


UPDATE = "spinegrade.training.average.MovingAverage.update"
ROOM = "spinegrade.localise.coordinates"
MOMENTS = {
    "in the second epoch": (UPDATE, 4, 3),
    "before the weights are written": (
        "spinegrade.localise.coordinates.training.save_regressor",
        1,
        6,
    ),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_training_ends_in_the_same_bytes(
    tmp_path: Path,
    cohort: dict[str, str],
    trained: list[str],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    place, call, kept = MOMENTS[moment]
    owner, name = pydoc.locate(place.rpartition(".")[0]), place.rpartition(".")[2]
    settings = small(training=SHORT)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, owner, name, call)
        train(tmp_path, cohort, settings, 1, checkpoint_minutes=0)
    with monkeypatch.context() as patch:
        steps = killed_at(patch, MovingAverage, "update", -1)
        weights = Path(train(tmp_path, cohort, settings, 1))
    assert len(steps) == 6 - kept, "what was done and kept was done again"
    undisturbed = Path(trained[1])
    assert weights.read_bytes() == undisturbed.read_bytes()
    assert weights.with_suffix(".csv").read_text() == undisturbed.with_suffix(".csv").read_text()
    assert not weights.with_suffix(".pt").exists()


def test_each_study_by_the_model_that_never_saw_it(
    cohort: dict[str, str], trained: list[str], tmp_path: Path
) -> None:
    keypoints_path, rejected_path = infer(tmp_path, cohort, "net", trained)
    table = read_table(keypoints_path, "keypoints")
    sources = table.groupby("study")["source"].agg(lambda s: "|".join(s.unique()))
    assert sources.to_dict() == {f"s{k:02d}": f"net:fold_{k % 2}" for k in range(8)} | {
        "s08": "net:mean"
    }
    # Without T1 there are no foraminal points, and the table of the rejected says so.
    counts = table.groupby("study").size().to_dict()
    assert counts == {f"s{k:02d}": 5 if k == 2 else 15 for k in range(9)}
    rejected = read_table(rejected_path, "rejected")
    assert rejected[["study", "code"]].to_numpy().tolist() == [["s02", "KEYPOINTS_NO_SERIES"]]
    assert "T1" in rejected["found"][0] and (table["confidence"] == 1).all()
    # By hand: study s08 is new, so its points are the mean of both models'.
    settings = small(training=SHORT)
    models = [load_regressor(path, "net", CPU) for path in trained]
    stacks = {(s.study, s.series): s for s in load_stacks([cohort["stacks"]])}
    look = whole_look(settings, (stacks["s08", "t1"], stacks["s08", "t2"]))
    points = (regress(models[:1], [look])[0] + regress(models[1:], [look])[0]) / 2
    canal = table[(table["study"] == "s08") & (table["condition"] == "spinal_canal_stenosis")]
    # The frame of 32 px shows 24 columns.
    wanted = (points[:5, 0].clip(-0.5, 31.5) + 0.5) * 24 / 32 - 0.5
    assert canal["x_px"].to_numpy() == pytest.approx(wanted, abs=1e-4)
    assert canal["index"].tolist() == [round(z) for z in (points[:5, 2] * 8).clip(0, 7) - 1e-9]


def test_its_error_is_measured_for_all_that_it_finds(
    cohort: dict[str, str], trained: list[str], tmp_path: Path
) -> None:
    keypoints_path, _ = infer(tmp_path, cohort, "net", trained)
    measure_keypoints(
        detector="net",
        targets=["canal", "foraminal"],
        keypoints_paths=[keypoints_path],
        stacks_paths=[cohort["stacks"]],
        landmarks_paths=[cohort["located_landmarks"]],
        errors_path=str(tmp_path / "errors.parquet"),
        summary_path=str(tmp_path / "errors.json"),
    )
    figures = read_json(tmp_path / "errors.json")
    assert figures["points"] == 8 * 15 - 10 and figures["in_plane_sd_mm"] > 0
    errors = pd.read_parquet(tmp_path / "errors.parquet")
    assert set(errors["condition"]) == {"spinal_canal_stenosis", "neural_foraminal_narrowing"}


def test_a_study_that_a_model_has_seen_is_refused(
    cohort: dict[str, str], trained: list[str], tmp_path: Path
) -> None:
    # The folds change after training: s00 is now of fold 1, whose model learnt from it.
    folds = read_table(cohort["folds"], "folds")
    folds.loc[folds["study"] == "s00", "fold"] = 1
    changed = tmp_path / "folds.parquet"
    write_table(changed, folds, "folds")
    with pytest.raises(SpinegradeError, match=r"trained on 1 studies .* s00 .* train this regress"):
        infer(tmp_path, cohort, "net", trained, folds_path=str(changed))
    # A weights file that says that it learnt from s01, which it would look at.
    model = load_regressor(trained[1], "net", CPU)
    planted = tmp_path / "planted.safetensors"
    seen = replace(model.seen, trained_on=(*model.seen.trained_on, "s01"))
    save_regressor(planted, model.network.state_dict(), model.settings, seen)
    with pytest.raises(SpinegradeError, match=r"planted.safetensors was trained on 1 .* s01"):
        infer(tmp_path, cohort, "net", [trained[0], str(planted)])
    # To other cohorts' studies all models are applied, and so none may have learnt from one.
    with pytest.raises(SpinegradeError, match=r"trained on 4 studies"):
        infer(tmp_path, cohort, "net", trained, folds_path=None)


def test_weights_are_refused_that_are_others_or_too_few(
    cohort: dict[str, str], trained: list[str], tmp_path: Path
) -> None:
    with pytest.raises(SpinegradeError, match=r"holds regressor 'net', expected 'other'"):
        infer(tmp_path, cohort, "other", trained)
    with pytest.raises(SpinegradeError, match=r"there are the folds \[0\], but the cohort has"):
        infer(tmp_path, cohort, "net", trained[:1])
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    with pytest.raises(SpinegradeError, match="no regressor of this version"):
        load_regressor(broken, "net", CPU)


def test_what_was_learnt_from_is_recorded(trained: list[str]) -> None:
    model = load_regressor(trained[0], "net", CPU)
    assert model.seen.trained_on == ("s01", "s03", "s05", "s07") and model.seen.chosen_on == ()
    assert model.settings == replace(
        small(training=SHORT), training=replace(model.settings.training, checkpoint_epochs=1)
    )
    with safe_open(trained[0], "pt") as file:
        assert list(file.metadata()) == ["spinegrade"]


def test_an_empty_training_set_is_refused_by_name(cohort: dict[str, str], tmp_path: Path) -> None:
    landmarks = read_table(cohort["located_landmarks"], "located_landmarks")
    empty = tmp_path / "landmarks.parquet"
    write_table(empty, landmarks.iloc[:0], "located_landmarks")
    changed = cohort | {"located_landmarks": str(empty)}
    with pytest.raises(SpinegradeError, match=r"regressor net, fold 1: no study to learn from"):
        train(tmp_path, changed, small(training=SHORT), 1)


def test_the_epoch_is_chosen_on_an_inner_part_where_asked_for(
    cohort: dict[str, str], tmp_path: Path
) -> None:
    settings = small(training=SHORT, select="inner", inner_share=0.5)
    model = load_regressor(train(tmp_path, cohort, settings, 0, seed=6), "net", CPU)
    inside = {*model.seen.trained_on, *model.seen.chosen_on}
    assert inside == {"s01", "s03", "s05", "s07"} and model.seen.chosen_on
    assert model.refused == inside
    history = pd.read_csv(tmp_path / "net_0.csv")
    assert np.isfinite(history["choice_loss"]).all()


def test_points_of_studies_never_seen_are_found(tmp_path: Path) -> None:
    """Far nearer than the best constant, which sees no image: 2.2 mm against 9.1 when written."""
    cohort = write_spines(tmp_path, 96, series=("t2",))
    settings = small(
        kind="sagittal_2d",
        target="canal",
        image_px=64,
        training={
            **{"epochs": 60, "batch_size": 8, "accumulation": 1},
            **{"average_decay": 0.95, "learning_rate": 0.01, "checkpoint_epochs": 60},
        },
        augmentation={"chance": 0.5, "blur_px": 0, "rotation_degrees": 0, "scale": 0},
    )
    weights = [train(tmp_path, cohort, settings, fold) for fold in range(2)]
    keypoints_path, _ = infer(tmp_path, cohort, "net", weights)
    landmarks = read_table(cohort["located_landmarks"], "located_landmarks")
    table = read_table(keypoints_path, "keypoints")
    errors = point_errors("net", table, landmarks, load_stacks([cohort["stacks"]]))
    assert len(errors) == 96 * 5
    places = landmarks.groupby("study")[["x_px", "y_px"]].apply(lambda of: of.to_numpy())
    spread = np.stack(places.tolist())
    spread = spread - np.median(spread, axis=0)
    constant_mm = np.median(np.hypot(spread[..., 0], spread[..., 1])) * 4
    assert errors["error_in_plane_mm"].median() < constant_mm / 2
