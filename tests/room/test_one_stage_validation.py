"""The figures of the one-stage networks, worked out by hand on points and grades made up for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from keypoint_helpers import affine_of, stack_row, write_stack
from one_stage_helpers import small
from refusals import refused
from spinegrade.combine.compare import Work, compare_learners, compare_work
from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import to_mm
from spinegrade.grade.volumes.points import anatomies, point_errors, point_figures
from spinegrade.grade.volumes.validation import (
    check_folds,
    grade_figures,
    measure_grader,
)
from spinegrade.metrics.graded import labelled_cells
from spinegrade.metrics.study_bootstrap import StudyMeans, compare_means, mean_interval, study_means
from spinegrade.regions.lumbar_mri import LUMBAR_LEVELS, LUMBAR_MRI, TARGETS
from spinegrade.tables.files import check_table, empty_table, write_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.labels import LABELS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.tables.stacks import STACKS
from spinegrade.volumes import Stack

FORAMINAL, CANAL = TARGETS["foraminal"], TARGETS["canal"]


@pytest.fixture
def stack(tmp_path) -> Stack:
    """32 rows and columns of 4 mm, ten slices 5 mm apart: two canvas px, half a mask px a pixel."""
    affine = affine_of([0, 4, 0], [0, 0, -4], [5, 0, 0], np.array([-20.0, -60, 70]))
    volume = np.zeros((10, 32, 32), np.int16)
    return write_stack(tmp_path, volume, affine, study="s0", weighting="t1")


def rows_of(stack: Stack, target, places, source: str, study: str = "s0") -> pd.DataFrame:
    """A table of points at ``places`` (cell's place: (x_px, y_px, slice))."""
    rows = []
    for number, point in places.items():
        mm = to_mm(stack.affine, [point])[0]
        rows.append(
            {"study": study, "series": stack.series, "stack": 0, "index": round(point[2])}
            | target.points[number]._asdict()
            | {"x_px": point[0], "y_px": point[1]}
            | dict(zip(("x_mm", "y_mm", "z_mm"), mm, strict=True))
            | {"confidence": 0.5, "source": source}
        )
    return check_table(pd.DataFrame(rows), KEYPOINTS)


# Left points in slice 8, right ones in slice 2, levels five pixels (20 mm) apart.
TRUTH = {k: (16.0, 4.0 + 5 * (k % 5), 8.0 if k < 5 else 2.0) for k in range(10)}


def test_errors_of_points_by_hand(stack):
    found = {
        0: (17.0, 4.0, 8.0),  # one pixel to the back: half a mask px
        1: (16.0, 9.0 + 4.2, 8.0),  # nearer to the level below
        5: (16.0, 4.0, 4.9),  # right, drifted to the left by 2.9 of 6 slices: still its own side
        6: (16.0, 9.0, 5.2),  # past the middle
    }
    keypoints = rows_of(stack, FORAMINAL, found, "net:fold_1")
    landmarks = rows_of(stack, FORAMINAL, TRUTH, "annotated")
    errors = point_errors(keypoints, landmarks, [stack], small("foraminal"), {"s0": "typical"})
    assert errors["fold"].tolist() == [1] * 4 and set(errors["anatomy"]) == {"typical"}
    np.testing.assert_allclose(errors["error_x_px"], [0.5, 0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(errors["error_y_px"], [0, 2.1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(errors["error_slices"], [0, 0, 2.9, 3.2], atol=1e-9)
    np.testing.assert_allclose(errors["error_mm"], [4, 16.8, 14.5, 16], atol=1e-9)
    assert errors["level_shift"].tolist() == [0, 1, 0, 0]
    assert errors["other_side"].tolist() == [0, 0, 0, 1]
    # The left is where slices grow to: a right point drifts there by a positive error.
    np.testing.assert_allclose(errors["drift_slices"], [0, 0, 2.9, 3.2], atol=1e-9)
    figures = point_figures(errors)
    assert figures["within_px"]["1"] == {"x": 1.0, "y": 0.75, "both": 0.75}
    assert figures["within_px"]["2"]["y"] == 0.75 and figures["within_px"]["5"]["both"] == 1.0
    assert figures["within_6_mm"] == 0.25 and figures["slice_within_1"] == 0.5
    assert figures["mean_slice_error"] == pytest.approx(6.1 / 4)
    assert figures["side_confusion"] == 0.25 and figures["level_shift_points"] == 0.25
    assert figures["level_shift_studies"] == 1.0 and figures["points"] == 4


def test_a_left_point_that_drifts_to_the_right_has_a_positive_drift(stack):
    keypoints = rows_of(stack, FORAMINAL, {0: (16.0, 4.0, 6.5)}, "net:fold_0")
    landmarks = rows_of(stack, FORAMINAL, TRUTH, "annotated")
    errors = point_errors(keypoints, landmarks, [stack], small("foraminal"))
    np.testing.assert_allclose(errors["error_slices"], -1.5)
    np.testing.assert_allclose(errors["drift_slices"], 1.5)
    assert errors["anatomy"].tolist() == ["unknown"]


def test_only_out_of_fold_points_with_a_landmark_count(stack):
    landmarks = rows_of(stack, FORAMINAL, {0: TRUTH[0], 1: TRUTH[1]}, "annotated")
    new = rows_of(stack, FORAMINAL, TRUTH, "net:mean")
    assert point_errors(new, landmarks, [stack], small("foraminal")).empty
    own = rows_of(stack, FORAMINAL, TRUTH, "net:fold_0")
    errors = point_errors(own, landmarks, [stack], small("foraminal"))
    assert len(errors) == 2 and errors["other_side"].isna().all(), "no right landmark is known"
    figures = point_figures(errors)
    assert figures["side_confusion"] is None and figures["drift_slices"] is None
    with refused("POINTS_STACK_UNKNOWN", "study s0", "series 1"):
        point_errors(own, landmarks, [], small("foraminal"))


def test_canal_points_have_no_side(stack):
    places = {k: (16.0, 4.0 + 5 * k, 5.0) for k in range(5)}
    landmarks = rows_of(stack, CANAL, places, "annotated")
    keypoints = rows_of(stack, CANAL, {**places, 2: (16.0, 14.0, 6.0)}, "net:fold_0")
    errors = point_errors(keypoints, landmarks, [stack], small("canal"))
    assert errors["other_side"].isna().all() and point_figures(errors)["slice_within_1"] == 1.0


def test_anatomies_are_two():
    truth = pd.DataFrame(
        {"study": ["a", "a", "b", "c"], "anatomy": ["typical"] * 2 + ["four_lumbar", "six_lumbar"]}
    )
    assert anatomies(truth) == {"a": "typical", "b": "transitional", "c": "transitional"}


# --- grades ----------------------------------------------------------------------------------


def predictions_of(target, grades: dict[str, list], fold: dict[str, int]) -> pd.DataFrame:
    """``grades``: by study the probabilities of each cell, None for no prediction."""
    rows = []
    for study, values in grades.items():
        for cell, value in zip(target.points, values, strict=False):
            if value is not None:
                rows.append(
                    {"study": study, **cell._asdict()}
                    | dict(zip(PROBABILITY_COLUMNS, value, strict=True))
                    | {"classifier": "net", "fold": fold[study]}
                )
    return check_table(pd.DataFrame(rows), PREDICTIONS)


def labels_of(target, grades: dict[str, list]) -> pd.DataFrame:
    rows = [
        {"study": study, **cell._asdict(), "grade": grade}
        for study, values in grades.items()
        for cell, grade in zip(target.points, values, strict=False)
    ]
    return check_table(pd.DataFrame(rows), LABELS)


SURE, HALF = (0.9, 0.05, 0.05), (0.25, 0.25, 0.5)


def test_losses_of_grades_by_hand():
    labels = labels_of(FORAMINAL, {"a": [0, 2, None], "b": [1, 0]})
    table = predictions_of(
        FORAMINAL, {"a": [SURE, HALF, HALF], "b": [HALF, None]}, {"a": 0, "b": 1}
    )
    graded = labelled_cells(labels, [FORAMINAL.condition])
    found = grade_figures(FORAMINAL, graded, table, LUMBAR_MRI, 100, 0)
    # Weights 1, 4 of study a, 2 of study b.
    first, second = -np.log(0.9) - 4 * np.log(0.5), -2 * np.log(0.25)
    assert found["pooled"]["foraminal"]["value"] == pytest.approx((first + second) / 7)
    assert found["folds"]["0"]["foraminal"] == pytest.approx(first / 5)
    assert found["folds"]["1"]["foraminal"] == pytest.approx(second / 2)
    assert (found["cells"], found["unpredicted_cells"]) == (3, 1)
    assert found["unpredicted_studies"] == [] and "any_severe" not in found["pooled"]
    floor = {"realised": {"foraminal": 0.5}}
    ratio = grade_figures(FORAMINAL, labels.dropna(), table, LUMBAR_MRI, 100, 0, floor)["pooled"]
    assert ratio["foraminal"]["ratio_to_floor"] == pytest.approx((first + second) / 3.5, abs=1e-5)


def test_any_severe_of_the_canal_by_hand():
    labels = labels_of(CANAL, {"a": [0, 2], "b": [1, 0]})
    table = predictions_of(CANAL, {"a": [SURE, HALF], "b": [HALF, SURE]}, {"a": 0, "b": 0})
    graded = labelled_cells(labels, [CANAL.condition])
    found = grade_figures(CANAL, graded, table, LUMBAR_MRI, 100, 0)
    # Study a: severe with 0.5, weight 4; study b: not severe with 1 - 0.5, weight 2.
    assert found["pooled"]["any_severe"]["value"] == pytest.approx(np.log(2))
    canal = -(np.log(0.9) + 4 * np.log(0.5) + 2 * np.log(0.25) + np.log(0.9)) / 8
    assert found["folds"]["0"]["spinal"] == pytest.approx(canal)
    interval = found["pooled"]["spinal"]
    assert interval["low"] <= interval["value"] <= interval["high"]


def test_predictions_of_another_fold_are_refused():
    table = predictions_of(FORAMINAL, {"a": [SURE], "b": [SURE]}, {"a": 0, "b": 1})
    folds = pd.DataFrame({"study": ["a", "b"], "fold": [0, 0], "stratum": [0, 0]})
    with refused("PREDICTION_OF_ANOTHER_FOLD", "study b", "fold 1"):
        check_folds(table, folds, "oof.parquet")
    check_folds(table[table["study"] == "a"], folds, "oof.parquet")


# --- paired comparisons ------------------------------------------------------------------------


def test_means_over_studies_and_their_difference():
    means = study_means(["a", "b", "a", "c", "z"], [1, 2, 4, np.nan, 9], ["a", "b", "c"])
    np.testing.assert_array_equal(means.total, [5, 2, 0])
    np.testing.assert_array_equal(means.weight, [2, 1, 0])
    assert means.mean == pytest.approx(7 / 3)
    weighted = study_means(["a", "b"], [1, 2], ["a", "b"], [1, 3])
    assert weighted.mean == pytest.approx(7 / 4)
    with refused("BOOTSTRAP_TOO_FEW", 1):
        study_means(["a"], [np.nan], ["a"])


def test_a_constant_difference_has_no_spread_and_a_random_one_covers_zero():
    draws = np.random.default_rng(0)
    values = draws.normal(5, 2, 200)
    one = StudyMeans(values, np.ones(200))
    other = StudyMeans(values - 0.25, np.ones(200))
    found = compare_means(one, other, 500, 1).difference
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    noise = StudyMeans(values + draws.normal(0, 1, 200), np.ones(200))
    found = compare_means(one, noise, 2000, 1).difference
    assert found.low < 0 < found.high
    # The standard error of a mean of 200 differences of deviation 1.
    assert found.high - found.low == pytest.approx(2 * 1.96 / np.sqrt(200), rel=0.2)
    interval = mean_interval(one, 2000, 1)
    assert interval.high - interval.low == pytest.approx(4 * 1.96 * 2 / np.sqrt(800), rel=0.2)
    with refused("BOOTSTRAP_UNPAIRED", 200, 1):
        compare_means(one, StudyMeans(values[:1], values[:1]))


def runs(studies: int, confused: int) -> Work:
    """Points of ``studies`` studies, the right ones of the first ``confused`` on the left."""
    rows, grades = [], {}
    for number in range(studies):
        wrong = number < confused
        for side in ("left", "right"):
            for level in LUMBAR_LEVELS:
                crossed = wrong and side == "right"
                rows.append(
                    {"study": f"s{number:02d}", "level": level, "side": side}
                    | {"other_side": float(crossed), "drift_slices": 5.0 * crossed}
                    | {"error_slices": 5.0 * crossed, "error_y_px": -1.0}
                )
        grades[f"s{number:02d}"] = [HALF if wrong else SURE] * 10
    fold = dict.fromkeys(grades, 0)
    return Work(pd.DataFrame(rows), predictions_of(FORAMINAL, grades, fold))


def test_what_confused_sides_cost_by_hand():
    bugged, fixed = runs(20, 8), runs(20, 0)
    labels = labels_of(FORAMINAL, {f"s{k:02d}": [0] * 10 for k in range(20)})
    found = compare_work(bugged, fixed, labels, LUMBAR_MRI, 500, 0)
    confusion = found["side_confusion"]
    # Half of the points of eight of twenty studies.
    assert (confusion["first"], confusion["second"]) == pytest.approx((0.2, 0.0))
    assert 0 < confusion["difference"]["low"] < 0.2 < confusion["difference"]["high"]
    assert found["drift_slices"]["difference"]["value"] == pytest.approx(1.0)
    assert found["error_y_px"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    loss = 0.4 * (np.log(0.9) - np.log(0.25))
    assert found["foraminal"]["difference"]["value"] == pytest.approx(loss)
    assert found["foraminal"]["studies"] == 20
    with pytest.raises(SpinegradeError, match="no study with points in common"):
        compare_work(bugged, Work(fixed.errors.iloc[:0], fixed.predictions), labels, LUMBAR_MRI)


# --- the stages --------------------------------------------------------------------------------


@pytest.fixture
def tables(tmp_path, stack) -> dict[str, str]:
    """Files of one study with good points and grades, written as the workflow has them."""
    labels = labels_of(FORAMINAL, {"s0": [0] * 10, "s1": [0] * 10})
    content = {
        "final": (predictions_of(FORAMINAL, {"s0": [SURE] * 10}, {"s0": 0}), PREDICTIONS),
        "plain": (predictions_of(FORAMINAL, {"s0": [HALF] * 10}, {"s0": 0}), PREDICTIONS),
        "keypoints": (rows_of(stack, FORAMINAL, TRUTH, "net:fold_0"), KEYPOINTS),
        "landmarks": (rows_of(stack, FORAMINAL, TRUTH, "annotated"), LOCATED_LANDMARKS),
        "stacks": (pd.DataFrame([stack_row(stack, tmp_path)]), STACKS),
        "labels": (labels, LABELS),
        "folds": (
            pd.DataFrame({"study": ["s0", "s1"], "fold": [0, 1], "stratum": [0, 0]}),
            FOLDS,
        ),
        "none": (empty_table(PREDICTIONS), PREDICTIONS),
        "no_points": (empty_table(KEYPOINTS), KEYPOINTS),
    }
    paths = {}
    for name, (table, kind) in content.items():
        # The volumes' paths are relative to two folders above the stacks table.
        paths[name] = str(tmp_path / "0" / f"{name}.parquet")
        write_table(paths[name], table, kind)
    return paths


def validate(folder: Path, tables: dict[str, str], settings, **more):
    plain = settings.is_mirrored
    measure_grader(
        **{
            "settings": settings,
            "predictions_paths": {
                "final": tables["final"],
                "plain": tables["plain" if plain else "none"],
            },
            "keypoints_paths": {
                "final": tables["keypoints"],
                "plain": tables["keypoints" if plain else "no_points"],
            },
            "stacks_paths": [tables["stacks"]],
            "landmarks_paths": [tables["landmarks"]],
            "labels_path": tables["labels"],
            "folds_path": tables["folds"],
            "truth_path": None,
            "floor_path": None,
            "errors_path": str(folder / "errors.parquet"),
            "summary_path": str(folder / "summary.json"),
            "resamples": 100,
            "seed": 0,
            "region": LUMBAR_MRI,
        }
        | more
    )
    return json.loads((folder / "summary.json").read_text())


def test_the_summary_with_and_without_test_time_augmentation(tmp_path, tables, caplog):
    found = validate(tmp_path, tables, small("foraminal", looks=["plain", "mirrored"]))
    final, plain = found["grades"]["final"], found["grades"]["plain"]
    assert final["pooled"]["foraminal"]["value"] == pytest.approx(-np.log(0.9))
    assert plain["pooled"]["foraminal"]["value"] == pytest.approx(-np.log(0.25))
    assert final["unpredicted_studies"] == ["s1"] and final["unpredicted_cells"] == 10
    assert found["points"]["final"]["pooled"]["within_6_mm"] == 1.0
    assert found["points"]["final"]["folds"]["0"]["points"] == 10
    assert found["points"]["final"]["anatomy"] is None
    errors = pd.read_parquet(tmp_path / "errors.parquet")
    assert errors["looks"].value_counts().to_dict() == {"final": 10, "plain": 10}
    assert found["chosen_on_validation"] is False and "too good" not in caplog.text
    without = validate(tmp_path, tables, small("foraminal"))
    assert without["grades"]["plain"] is None and without["points"]["plain"] is None


def test_a_published_choice_of_the_epoch_is_told(tmp_path, tables, caplog):
    found = validate(tmp_path, tables, small("foraminal", select="published"))
    assert found["chosen_on_validation"] is True
    assert "chosen on that fold itself" in caplog.text


def test_a_network_without_predictions_is_refused(tmp_path, tables):
    nothing = {"final": tables["none"], "plain": tables["none"]}
    with pytest.raises(SpinegradeError, match="network net has no out-of-fold prediction"):
        validate(tmp_path, tables, small("foraminal"), predictions_paths=nothing)


def test_the_comparison_is_written(tmp_path, tables):
    validate(tmp_path, tables, small("foraminal"))
    compare_learners(
        names=["a", "b"],
        errors_paths=[str(tmp_path / "errors.parquet")] * 2,
        predictions_paths=[tables["plain"], tables["final"]],
        labels_path=tables["labels"],
        comparison_path=str(tmp_path / "c.json"),
        resamples=100,
        seed=0,
        region=LUMBAR_MRI,
    )
    found = json.loads((tmp_path / "c.json").read_text())["bugged_minus_fixed"]
    assert found["side_confusion"]["difference"]["value"] == 0.0
    assert found["foraminal"]["difference"]["value"] == pytest.approx(np.log(0.9 / 0.25))
