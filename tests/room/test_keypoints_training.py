"""Localisers of heatmaps find dots out of fold, and their error is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from heatmap_helpers import NAME, infer, small_block, train, write_canal_cohort
from spinegrade.localise.heatmap.measure import measure_keypoints, summary
from spinegrade.localise.heatmap.samples import training_samples
from spinegrade.localise.heatmap.settings import Settings
from spinegrade.metrics.points import affines_of, point_errors
from spinegrade.runtime.files import read_json
from spinegrade.tables.files import read_table
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.rejected import REJECTED
from spinegrade.volumes import load_stacks


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("canal")
    return folder, write_canal_cohort(folder, studies=12)


def test_dots_are_found_out_of_fold_and_measured(cohort: tuple[Path, dict[str, str]]) -> None:
    folder, paths = cohort
    weights = [str(train(folder, paths, small_block(), fold)) for fold in (0, 1)]
    keypoints, rejected = infer(folder, paths, small_block(), weights)
    table = read_table(keypoints, KEYPOINTS)
    sources = table.groupby("study")["source"].agg(lambda s: "|".join(s.unique()))
    assert sources.to_dict() == {f"s{k:02d}": f"t2:fold_{k % 2}" for k in range(12)} | {
        "s12": "t2:mean"
    }
    assert read_table(rejected, REJECTED).empty
    measure_keypoints(
        detector=NAME,
        targets=["canal"],
        keypoints_paths=[keypoints],
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


def test_a_study_without_landmarks_is_left_out_and_listed(
    cohort: tuple[Path, dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    _, paths = cohort
    landmarks = read_table(paths["located_landmarks"], LOCATED_LANDMARKS)
    samples = training_samples(
        Settings(NAME, small_block()),
        load_stacks([paths["stacks"]]),
        landmarks[landmarks["study"] != "s02"],
        ["s00", "s02", "s04"],
    )
    assert samples.studies == ("s00", "s04")
    assert "1 studies without" in caplog.text and "s02" in caplog.text


def test_errors_worked_out_by_hand(cohort: tuple[Path, dict[str, str]]) -> None:
    _, paths = cohort
    stacks = load_stacks([paths["stacks"]])
    known = read_table(paths["located_landmarks"], LOCATED_LANDMARKS)
    known = known[known["study"] == "s00"].reset_index(drop=True)
    moved = known.copy()
    moved["x_px"] += 1.0  # one column is 4 mm to the back
    moved["y_mm"] += 4.0
    one = moved.loc[0].copy()
    moved.loc[0, ["x_px", "y_px", "x_mm", "y_mm", "z_mm"]] = known.loc[
        1, ["x_px", "y_px", "x_mm", "y_mm", "z_mm"]
    ]
    affines = affines_of(stacks)
    errors = point_errors(moved.assign(confidence=1.0), known, affines)
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
    errors = point_errors(moved.assign(confidence=1.0), truth, affines)
    assert errors["error_slices"][1:].tolist() == pytest.approx([-0.5] * 4)
