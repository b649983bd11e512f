"""Regressors: published units by hand, points out of fold, and that they learn."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from regressor_helpers import infer, small, small_block, train, write_spines
from spinegrade.localise.coordinates.coordinates import from_targets, to_targets
from spinegrade.localise.coordinates.predict import network_of
from spinegrade.localise.coordinates.regress import regress
from spinegrade.localise.coordinates.samples import whole_look
from spinegrade.localise.heatmap.measure import measure_keypoints
from spinegrade.metrics.points import affines_of, point_errors
from spinegrade.runtime.files import read_json
from spinegrade.tables.files import read_table
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.rejected import REJECTED
from spinegrade.training.record import load_model, read_weights
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
    return [train(folder, cohort, small_block(training=SHORT), fold) for fold in range(2)]


def test_targets_in_the_published_units() -> None:
    joint = small(input={"frame_px": 512, "image_px": 256})
    points = torch.tensor([[[256.0, 128.0, 0.5]]])
    assert to_targets(points, joint)[0, 0].tolist() == [2.0, 1.0, 8.0]
    torch.testing.assert_close(from_targets(to_targets(points, joint), joint), points)
    later = small(input={"frame_px": 512, "in_plane": 1, "along": 1})
    assert to_targets(points, later)[0, 0].tolist() == [0.5, 0.25, 0.5]


def test_each_study_by_the_model_that_never_saw_it(
    cohort: dict[str, str], trained: list[str], tmp_path: Path
) -> None:
    keypoints_path, rejected_path = infer(tmp_path, cohort, trained, small_block(training=SHORT))
    table = read_table(keypoints_path, KEYPOINTS)
    sources = table.groupby("study")["source"].agg(lambda s: "|".join(s.unique()))
    assert sources.to_dict() == {f"s{k:02d}": f"net:fold_{k % 2}" for k in range(8)} | {
        "s08": "net:mean"
    }
    # Without T1 there are no foraminal points, and the table of the rejected says so.
    counts = table.groupby("study").size().to_dict()
    assert counts == {f"s{k:02d}": 5 if k == 2 else 15 for k in range(9)}
    rejected = read_table(rejected_path, REJECTED)
    assert rejected[["study", "code"]].to_numpy().tolist() == [["s02", "KEYPOINTS_NO_SERIES"]]
    assert "T1" in rejected["found"][0] and (table["confidence"] == 1).all()
    # By hand: study s08 is new, so its points are the mean of both models'.
    settings = small(training=SHORT)
    expected = {"name": "net", "kind": "coordinates"}
    made = partial(network_of, settings, None)
    models = [load_model(path, expected, made, CPU) for path in trained]
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
    keypoints_path, _ = infer(tmp_path, cohort, trained, small_block(training=SHORT))
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


def test_the_epoch_is_chosen_on_an_inner_part_where_asked_for(
    cohort: dict[str, str], tmp_path: Path
) -> None:
    block = small_block(training=SHORT, select="inner", inner_share=0.5)
    record = read_weights(train(tmp_path, cohort, block, 0, seed=6))[1]
    inside = {*record.trained_on, *record.chosen_on}
    assert inside == {"s01", "s03", "s05", "s07"} and record.chosen_on
    assert record.refused == inside
    history = pd.read_csv(tmp_path / "net_0.csv")
    assert np.isfinite(history["choice_loss"]).all()


def test_points_of_studies_never_seen_are_found(tmp_path: Path) -> None:
    """Far nearer than the best constant, which sees no image: 2.2 mm against 9.1 when written."""
    cohort = write_spines(tmp_path, 96, series=("t2",))
    block = small_block(
        "sagittal_slice",
        input={"image_px": 64},
        training={
            **{"epochs": 60, "batch_size": 8, "accumulation": 1},
            **{"average_decay": 0.95, "learning_rate": 0.01, "checkpoint_epochs": 60},
        },
        augment={"chance": 0.5, "blur_px": 0, "rotation_degrees": 0, "scale": 0},
    )
    weights = [train(tmp_path, cohort, block, fold) for fold in range(2)]
    keypoints_path, _ = infer(tmp_path, cohort, weights, block)
    landmarks = read_table(cohort["located_landmarks"], LOCATED_LANDMARKS)
    table = read_table(keypoints_path, KEYPOINTS)
    errors = point_errors(table, landmarks, affines_of(load_stacks([cohort["stacks"]])))
    assert len(errors) == 96 * 5
    places = landmarks.groupby("study")[["x_px", "y_px"]].apply(lambda of: of.to_numpy())
    spread = np.stack(places.tolist())
    spread = spread - np.median(spread, axis=0)
    constant_mm = np.median(np.hypot(spread[..., 0], spread[..., 1])) * 4
    assert errors["error_in_plane_mm"].median() < constant_mm / 2
