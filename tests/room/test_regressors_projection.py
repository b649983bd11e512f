"""Sagittal points projected into axial slices: places by hand, out of fold, and no leak."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from regressor_helpers import PLACES, write_spines
from spinegrade.errors import SpinegradeError
from spinegrade.keypoint_rows import keypoint_table
from spinegrade.localise.coordinates.projection import check_projections, fit_steps, recesses_of
from spinegrade.localise.coordinates.projection_stages import fit_projection, project_keypoints
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_LEVELS, SPINAL, SUBARTICULAR
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.rejected import REJECTED

MM = ["x_mm", "y_mm", "z_mm"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("spines")
    return write_spines(folder, 6, series=("t1", "t2", "ax"), lacking={"s05": ("ax",)})


@pytest.fixture(scope="module")
def sagittal(cohort: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Canal keypoints as a detector would write them: where they are annotated, out of fold."""
    landmarks = read_table(cohort["located_landmarks"], LOCATED_LANDMARKS)
    points = landmarks[landmarks["condition"] == SPINAL].copy()
    points["source"] = [f"t2:fold_{int(study[1:]) % 2}" for study in points["study"]]
    path = tmp_path_factory.mktemp("points") / "0.parquet"
    write_table(path, points, KEYPOINTS)
    return str(path)


def fit(folder: Path, cohort: dict[str, str], fold: int, **more: str) -> str:
    path = str(folder / f"offsets_{fold}.json")
    fit_projection(
        **{
            "name": "lines",
            "fold": fold,
            "studies_path": cohort["studies"],
            "folds_path": cohort["folds"],
            "landmarks_paths": [cohort["located_landmarks"]],
            "offsets_path": path,
        }
        | more
    )
    return path


def project(
    folder: Path, cohort: dict[str, str], offsets: list[str], points: str, **more: object
) -> tuple[pd.DataFrame, pd.DataFrame]:
    keypoints, rejected = folder / "0.parquet", folder / "0.rejected.parquet"
    project_keypoints(
        **{
            "name": "lines",
            "shard": 0,
            "studies_path": cohort["studies"],
            "folds_path": cohort["folds"],
            "stacks_path": cohort["stacks"],
            "offsets_paths": offsets,
            "points_paths": [points],
            "keypoints_path": str(keypoints),
            "rejected_path": str(rejected),
            "max_distance_mm": 15.0,
        }
        | more
    )
    return read_table(keypoints, KEYPOINTS), read_table(rejected, REJECTED)


def landmark(study: str, condition: str, level: str, side: str, *mm: float) -> dict:
    return {"study": study, "condition": condition, "level": level, "side": side} | dict(
        zip(MM, mm, strict=True)
    )


def test_steps_by_hand() -> None:
    points = pd.DataFrame(
        [
            landmark("a", SPINAL, "l1_l2", "central", 0, 0, 0),
            landmark("a", SUBARTICULAR, "l1_l2", "left", 10, 2, 0),
            landmark("a", SUBARTICULAR, "l1_l2", "right", -8, 2, 0),
            landmark("b", SPINAL, "l1_l2", "central", 5, 5, 5),
            landmark("b", SUBARTICULAR, "l1_l2", "left", 17, 5, 7),
            landmark("b", SPINAL, "l5_s1", "central", 0, 0, 0),
            landmark("b", SUBARTICULAR, "l5_s1", "left", 20, 0, 0),
            landmark("c", SPINAL, "l5_s1", "central", 0, 0, 0),
            landmark("c", SUBARTICULAR, "l5_s1", "left", 999, 0, 0),
        ]
    )
    steps, seen = fit_steps(points, ["a", "b"])
    assert seen == ["a", "b"] and list(steps) == [SPINAL]
    # (10, 2, 0) and (12, 0, 2) at L1/L2, (20, 0, 0) at L5/S1, elsewhere the mean of both levels.
    left = steps[SPINAL]["left"]
    assert left["l1_l2"] == [11, 1, 1] and left["l5_s1"] == [20, 0, 0]
    assert left["l3_l4"] == [15.5, 0.5, 0.5] and steps[SPINAL]["right"]["l5_s1"] == [-8, 2, 0]


def test_the_canal_tells_first_and_then_the_foramina_of_both_sides() -> None:
    by_level = {level: [1.0, 0.0, 0.0] for level in LUMBAR_LEVELS}
    steps = {c: {"left": by_level, "right": by_level} for c in (SPINAL, FORAMINAL)}
    points = pd.DataFrame(
        [
            landmark("a", SPINAL, "l1_l2", "central", 0, 0, 0) | {"confidence": 0.7},
            landmark("a", FORAMINAL, "l1_l2", "left", 50, 0, 0) | {"confidence": 1.0},
            landmark("a", FORAMINAL, "l2_l3", "left", 20, 0, 0) | {"confidence": 0.9},
            landmark("a", FORAMINAL, "l2_l3", "right", -20, 0, 0) | {"confidence": 0.8},
            landmark("a", FORAMINAL, "l3_l4", "left", 20, 0, 0) | {"confidence": 0.9},
        ]
    )
    found = recesses_of(points, steps)
    assert list(found) == ["l1_l2", "l2_l3"], "one foramen alone does not tell"
    assert found["l1_l2"][0].tolist() == [[1, 0, 0], [1, 0, 0]] and found["l1_l2"][1] == 0.7
    assert found["l2_l3"][0].tolist() == [[21, 0, 0], [-19, 0, 0]] and found["l2_l3"][1] == 0.8


def test_points_lie_in_the_recesses_of_the_nearest_slice(
    cohort: dict[str, str], sagittal: str, tmp_path: Path
) -> None:
    offsets = [fit(tmp_path, cohort, fold) for fold in range(2)]
    steps = json.loads(Path(offsets[0]).read_text())
    assert steps["trained_on"] == ["s01", "s03"], "s05 shows no recess"
    mean = np.mean(list(steps["steps_mm"][SPINAL]["left"].values()), axis=0)
    # Sagittal points are annotated in slices of 9 mm, axial ones in slices of 6 mm.
    assert mean == pytest.approx([*PLACES[SUBARTICULAR, "left"], 0], abs=6)
    table, rejected = project(tmp_path, cohort, offsets, sagittal)
    assert rejected[["study", "code"]].to_numpy().tolist() == [
        ["s05", "KEYPOINTS_NO_SERIES"],
        ["s06", "KEYPOINTS_NO_LEVELS"],
    ]
    landmarks = read_table(cohort["located_landmarks"], LOCATED_LANDMARKS)
    merged = table.merge(landmarks, on=["study", "condition", "level", "side"])
    assert len(merged) == len(table) == 5 * 10
    assert (merged["index_x"] - merged["index_y"]).abs().max() <= 1
    for axis in ("x_mm", "y_mm"):
        assert (merged[f"{axis}_x"] - merged[f"{axis}_y"]).abs().median() < 5
    sources = table.groupby("study")["source"].agg(set)
    assert sources["s00"] == {"lines:fold_0"} and sources["s01"] == {"lines:fold_1"}


def test_a_study_has_no_part_in_its_own_points(
    cohort: dict[str, str], sagittal: str, tmp_path: Path
) -> None:
    landmarks = read_table(cohort["located_landmarks"], LOCATED_LANDMARKS)
    own = (landmarks["study"] == "s00") & (landmarks["condition"] == SUBARTICULAR)
    landmarks.loc[own, "x_mm"] += 30
    moved = tmp_path / "landmarks.parquet"
    write_table(moved, landmarks, LOCATED_LANDMARKS)
    (tmp_path / "moved").mkdir()
    tables = []
    for folder, given in ((tmp_path, {}), (tmp_path / "moved", {"landmarks_paths": [moved]})):
        offsets = [fit(folder, cohort, fold, **given) for fold in range(2)]
        tables.append(project(folder, cohort, offsets, sagittal)[0])
    before, after = (table[table["study"] == "s00"][MM] for table in tables)
    pd.testing.assert_frame_equal(before, after)
    others = [table[table["study"] == "s01"][MM].to_numpy() for table in tables]
    assert np.abs(others[0] - others[1]).max() > 5


def test_leaks_are_refused(cohort: dict[str, str], sagittal: str, tmp_path: Path) -> None:
    offsets = [fit(tmp_path, cohort, fold) for fold in range(2)]
    folds = read_table(cohort["folds"], FOLDS)
    folds.loc[folds["study"] == "s00", "fold"] = 1
    changed = tmp_path / "folds.parquet"
    write_table(changed, folds, FOLDS)
    with pytest.raises(SpinegradeError, match=r"trained on 1 studies .* s00 .* train lines again"):
        project(tmp_path, cohort, offsets, sagittal, folds_path=str(changed))
    # Steps that say that they were measured on s01, which they would be used for.
    planted = json.loads(Path(offsets[1]).read_text())
    planted["trained_on"].append("s01")
    path = tmp_path / "planted.json"
    path.write_text(json.dumps(planted))
    with pytest.raises(SpinegradeError, match=r"planted.json was trained on 1 studies"):
        project(tmp_path, cohort, [offsets[0], str(path)], sagittal)
    # Sagittal points of another fold's detector, which learnt from the study.
    points = read_table(sagittal, KEYPOINTS)
    points.loc[points["study"] == "s02", "source"] = "t2:fold_1"
    leaking = tmp_path / "points.parquet"
    write_table(leaking, points, KEYPOINTS)
    with pytest.raises(SpinegradeError, match=r"study s02: its points come from t2:fold_1"):
        project(tmp_path, cohort, offsets, str(leaking))


def test_a_level_that_no_slice_shows_is_listed(
    cohort: dict[str, str], sagittal: str, tmp_path: Path
) -> None:
    offsets = [fit(tmp_path, cohort, fold) for fold in range(2)]
    points = read_table(sagittal, KEYPOINTS)
    far = (points["study"] == "s00") & (points["level"] == "l5_s1")
    points.loc[far, "z_mm"] -= 100
    moved = tmp_path / "points.parquet"
    write_table(moved, keypoint_table(points.to_dict("records")), KEYPOINTS)
    table, rejected = project(tmp_path, cohort, offsets, str(moved))
    assert len(table[table["study"] == "s00"]) == 8
    row = rejected[rejected["study"] == "s00"].iloc[0]
    assert row["code"] == "KEYPOINTS_LEVEL_UNSEEN" and "l5_s1" in row["found"]


def test_what_cannot_be_measured_or_named_is_refused(
    cohort: dict[str, str], tmp_path: Path
) -> None:
    landmarks = read_table(cohort["located_landmarks"], LOCATED_LANDMARKS)
    empty = tmp_path / "landmarks.parquet"
    write_table(empty, landmarks[landmarks["condition"] != SUBARTICULAR], LOCATED_LANDMARKS)
    with pytest.raises(SpinegradeError, match=r"projection lines, fold 0: none of the 3 training"):
        fit(tmp_path, cohort, 0, landmarks_paths=[str(empty)])
    with pytest.raises(SpinegradeError, match="no such file; run fit_projection"):
        project(tmp_path, cohort, ["nowhere.json"], str(empty))
    found_by = {"t2": ["canal"], "ax": ["subarticular"]}
    with refused("NAME_UNKNOWN", "t2", key="projections.lines.points_of"):
        check_projections({"lines": {"points_of": ["ax"]}}, found_by)
    with refused("LEARNER_NAME_TAKEN", key="projections.t2"):
        check_projections({"t2": {"points_of": ["t2"]}}, found_by, found_by)
