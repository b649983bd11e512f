"""Each kind of regressor: what its samples are, what it learns, and the rows that it gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from regressor_helpers import infer, small, small_block, train, write_spines
from spinegrade.localise.coordinates import find
from spinegrade.localise.coordinates.samples import image_of, training_samples
from spinegrade.localise.coordinates.task import PointTask
from spinegrade.localise.heatmap.measure import surest
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_LEVELS, SUBARTICULAR
from spinegrade.tables.files import read_table
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.rejected import REJECTED
from spinegrade.volumes import load_stacks

STUDIES = [f"s{number:02d}" for number in range(12)]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("spines")
    return write_spines(folder, 12, series=("t1", "t2", "ax"), lacking={"s03": ("ax",)})


def samples_of(cohort: dict[str, str], settings, studies: list[str] = STUDIES):
    landmarks = read_table(cohort["located_landmarks"], LOCATED_LANDMARKS)
    return training_samples(settings, load_stacks([cohort["stacks"]]), landmarks, studies)


def test_every_labelled_slice_is_a_sample_of_its_side(cohort: dict[str, str]) -> None:
    settings = small("sagittal_slice", finds="foraminal")
    samples = samples_of(cohort, settings, ["s00", "s01"])
    # Each side's five points lie in one slice of the made-up spines.
    assert samples.studies == ("s00", "s00", "s01", "s01") and samples.known.all()
    for row in range(4):
        image = image_of(settings, samples.looks[row])
        assert image.shape == (1, 1, 32, 32)
        for x, y, _ in samples.points[row]:
            assert image[0, 0, round(y), round(x)] > 60
    first, second = (samples.looks[row].places[0][0] for row in (0, 1))
    assert abs(first - second) == 8, "48 mm apart in slices of 6 mm"


def test_axial_series_are_seen_from_head_to_feet(cohort: dict[str, str]) -> None:
    settings = small("axial_stack")
    samples = samples_of(cohort, settings)
    assert samples.studies == tuple(study for study in STUDIES if study != "s03")
    left, right = samples.points[0, :5], samples.points[0, 5:]
    assert (np.diff(left[:, 2]) > 0).all(), "L1/L2 comes before L5/S1"
    assert (left[:, 0] > right[:, 0]).all(), "columns grow to the patient's left"
    # 22 mm a level in slices of 6 mm, 24 of them.
    assert left[4, 2] - left[0, 2] == pytest.approx(88 / 6 / 24, abs=1.1 / 24)


def test_the_middle_slice_tells_the_points_of_both_sides(
    cohort: dict[str, str], tmp_path: Path
) -> None:
    block = small_block("sagittal_slice", finds="foraminal")
    weights = [train(tmp_path, cohort, block, fold) for fold in range(2)]
    keypoints_path, _ = infer(tmp_path, cohort, weights, {**block, "as_published": ["entries"]})
    published = read_table(keypoints_path, KEYPOINTS)
    keypoints_path, _ = infer(tmp_path, cohort, weights, block)
    table = read_table(keypoints_path, KEYPOINTS)
    assert len(table) == 13 * 10 and set(table["condition"]) == {FORAMINAL}
    sides = {side: rows.reset_index() for side, rows in table.groupby("side")}
    for column in ("study", "level", "x_px", "y_px"):
        assert (sides["left"][column] == sides["right"][column]).all()
    # Of 12 slices, entry 2 of ten: round(3 * 1.2 - 0.5001) = 3, and entry 6: round(7.9) = 8.
    assert set(sides["left"]["index"]) == {8} and set(sides["right"]["index"]) == {3}
    # The published entry 7: round(9.1) = 9.
    on_left = published[published["side"] == "left"]
    assert set(on_left["index"]) == {9}
    assert (sides["left"]["x_mm"] > sides["right"]["x_mm"]).all()


def test_every_axial_series_gets_all_points(
    cohort: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = small_block("axial_stack")
    weights = [train(tmp_path, cohort, block, fold) for fold in range(2)]
    found = np.zeros((1, 10, 3))
    found[0, :, 0], found[0, :, 1] = 20.0, 8.0
    found[0, :, 2] = [0.0, 0.25, 0.5, 0.75, 2.0] * 2
    monkeypatch.setattr(find, "regress", lambda *_: found)
    stacks = load_stacks([cohort["stacks"]])
    keypoints_path, rejected_path = infer(tmp_path, cohort, weights, block)
    table = read_table(keypoints_path, KEYPOINTS)
    assert read_table(rejected_path, REJECTED)["study"].tolist() == ["s03"]
    assert len(table) == 12 * 10 and set(table["condition"]) == {SUBARTICULAR}
    one = table[(table["study"] == "s00") & (table["side"] == "left")]
    assert one["level"].tolist() == list(LUMBAR_LEVELS)
    # The head's slice is the stack's last; what lies beyond the feet is moved to the edge.
    assert one["index"].tolist() == [23, 17, 11, 5, 0]
    # 24 columns and 20 rows in a frame of 32.
    assert set(one["x_px"].round(6)) == {20.5 * 24 / 32 - 0.5}
    assert set(one["y_px"].round(6)) == {8.5 * 20 / 32 - 0.5}
    assert len({s.series for s in stacks}) == 3


def test_a_point_told_in_several_series_is_measured_where_it_is_surest() -> None:
    cells = {"study": "s00", "condition": SUBARTICULAR, "side": "left"}
    rows = [
        {**cells, "level": "l4_l5", "series": "a", "confidence": 0.4},
        {**cells, "level": "l5_s1", "series": "a", "confidence": 1.0},
        {**cells, "level": "l4_l5", "series": "b", "confidence": 0.9},
        {**cells, "level": "l5_s1", "series": "b", "confidence": 1.0},
    ]
    found = surest(pd.DataFrame(rows))
    # The one that crops take, of equals the first.
    assert found[["level", "series"]].to_numpy().tolist() == [["l5_s1", "a"], ["l4_l5", "b"]]


def test_slices_are_read_once_each(cohort: dict[str, str]) -> None:
    settings = small("sagittal_slice")
    samples = samples_of(cohort, settings, ["s00", "s01"])
    batch = PointTask(samples, settings).read(np.array([1, 0]), 0)
    assert batch.images.shape == (2, 1, 1, 32, 32)
    assert torch.equal(batch.points[0], torch.from_numpy(samples.points[1]))
