"""Mean shapes: small sets by hand, the stage on small tables, and the real points."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from spinegrade.kaggle_rsna2024 import kaggle_condition, kaggle_level
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_LEVELS, SPINAL
from spinegrade.shapes import align_to_shape, mean_shape
from spinegrade.shapes.fit import FRAME_PX, complete_sets, fit_mean_shape, image_sizes
from spinegrade.tables.files import write_table
from spinegrade.tables.landmarks import LANDMARKS
from spinegrade.tables.stacks import STACKS

ZIGZAG = np.array([[3.0, -8.0], [0.0, -4.0], [-2.0, 0.0], [0.0, 4.0], [-1.0, 8.0]])  # centred


def landmark_rows(study: str, condition: str, side: str, points: np.ndarray) -> list[dict]:
    return [
        {
            "study": study,
            "series": f"{study}1",
            "instance_number": 8,
            "condition": condition,
            "level": level,
            "side": side,
            "x_px": x,
            "y_px": y,
        }
        for level, (x, y) in zip(LUMBAR_LEVELS, points, strict=True)
    ]


def stack_row(study: str, rows: int, cols: int) -> dict:
    row = {
        "study": study,
        "series": f"{study}1",
        "stack": 0,
        "split": "train",
        "plane": "sagittal",
        "weighting": "t1",
        "slices": 15,
        "rows": rows,
        "cols": cols,
        "volume": f"volumes/{study}/{study}1_0.nii",
    }
    return {name: row.get(name, 1.0) for name in STACKS.columns}


def write_inputs(folder: Path, landmarks: list[dict], stacks: list[dict]) -> tuple[Path, list[str]]:
    write_table(folder / "landmarks.parquet", pd.DataFrame(landmarks), LANDMARKS)
    write_table(folder / "stacks.parquet", pd.DataFrame(stacks), STACKS)
    return folder / "landmarks.parquet", [str(folder / "stacks.parquet")]


def both_planes(study: str, points: np.ndarray) -> list[dict]:
    return (
        landmark_rows(study, FORAMINAL, "left", points)
        + landmark_rows(study, FORAMINAL, "right", points + np.array([2, 0]))
        + landmark_rows(study, SPINAL, "central", points + np.array([5, 1]))
    )


def test_mean_shape_is_centred_with_the_mean_scale():
    mean = mean_shape(np.stack([ZIGZAG + 200, 3 * ZIGZAG + [10, 90]]))
    np.testing.assert_allclose(mean, 2 * ZIGZAG, atol=1e-9)


def test_align_to_shape_returns_the_transform_both_ways():
    quarter = np.stack([-ZIGZAG[:, 1], ZIGZAG[:, 0]], axis=1)  # a quarter turn
    aligned, transform = align_to_shape(0.5 * quarter + 40, ZIGZAG)
    np.testing.assert_allclose(aligned, ZIGZAG, atol=1e-9)
    assert transform.scale == pytest.approx(2)
    assert transform.angle_deg == pytest.approx(-90)
    np.testing.assert_allclose(transform.inverse().apply(ZIGZAG), 0.5 * quarter + 40, atol=1e-9)


def test_points_are_scaled_by_the_longer_side_and_incomplete_studies_counted():
    landmarks = pd.DataFrame(
        landmark_rows("a", SPINAL, "central", 100 + ZIGZAG)
        + landmark_rows("b", SPINAL, "central", 100 + ZIGZAG)[:4]
        + landmark_rows("c", SPINAL, "central", 100 + ZIGZAG)
    )
    stacks = pd.DataFrame([stack_row("a", 200, 256), stack_row("b", 512, 512)])
    sets = complete_sets(landmarks, image_sizes(stacks), SPINAL, ("central",))
    # a: 512 / 256 = 2; b lacks L5/S1; c was not converted.
    assert sets.studies == ["a"]
    assert sets.left_out == 2
    np.testing.assert_allclose(sets.points, [2 * (100 + ZIGZAG)])


def test_series_with_stacks_of_two_sizes_are_not_scaled():
    stacks = pd.DataFrame([stack_row("a", 256, 256), stack_row("a", 512, 512) | {"stack": 1}])
    assert len(image_sizes(stacks)) == 0


def test_the_stage_writes_shape_and_picture(tmp_path):
    landmarks = both_planes("a", 100 + ZIGZAG) + both_planes("b", 300 + 2 * ZIGZAG)
    inputs = write_inputs(tmp_path, landmarks, [stack_row("a", 256, 256), stack_row("b", 512, 512)])
    shape, picture = tmp_path / "mean_shape.json", tmp_path / "mean_shape.png"
    fit_mean_shape(*inputs, shape, picture)
    content = json.loads(shape.read_text())
    # At 512 both studies have the canal 2 * ZIGZAG.
    np.testing.assert_allclose(content["canal"]["points"], 2 * ZIGZAG, atol=1e-9)
    assert content["canal"]["unit"] == f"px at {FRAME_PX}"
    assert len(content["foraminal"]["points"]) == 10
    assert content["foraminal"]["studies"] == 2
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = tmp_path / "again.png"
    fit_mean_shape(*inputs, tmp_path / "again.json", again)
    assert again.read_bytes() == picture.read_bytes()


def test_a_cohort_without_one_complete_study_is_refused(tmp_path):
    landmarks = both_planes("a", 100 + ZIGZAG)[1:]
    inputs = write_inputs(tmp_path, landmarks, [stack_row("a", 256, 256)])
    with refused("SHAPE_WITHOUT_STUDY", 10):
        fit_mean_shape(*inputs, tmp_path / "shape.json", tmp_path / "shape.png")


@pytest.mark.real_data
def test_two_halves_of_the_real_foraminal_points_agree(real_data):
    folder = real_data / "rsna2024"
    text = {"study_id": str, "series_id": str}
    sized = pd.read_csv(folder / "train_label_coordinates_with_size.csv.gz", dtype=text)
    sizes = sized.groupby(["study_id", "series_id"])[["height", "width"]].first().max(axis=1)
    points = pd.read_csv(folder / "train_label_coordinates.fix01b.csv.gz", dtype=text)
    condition = points["condition"].map(kaggle_condition)
    landmarks = pd.DataFrame(
        {
            "study": points["study_id"],
            "series": points["series_id"],
            "condition": condition.str[0],
            "side": condition.str[1],
            "level": points["level"].map(kaggle_level),
            "x_px": points["x"],
            "y_px": points["y"],
        }
    )
    sets = complete_sets(landmarks, sizes, FORAMINAL, ("left", "right"))
    assert len(sets.studies) > 1900
    order = np.random.default_rng(5).permutation(len(sets.points))
    first, second = (mean_shape(sets.points[half]) for half in np.array_split(order, 2))
    aligned, _ = align_to_shape(first, second)
    assert np.sqrt(((aligned - second) ** 2).sum(axis=1).mean()) < 0.8
