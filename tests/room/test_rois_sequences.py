"""Axial sequences: the slices of each level, worked out by hand, and what is stored of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from keypoint_helpers import affine_of, stack_row, write_stack
from refusals import refused
from spinegrade.crop.sequences import level_ranges, sequence_table, write_sequences
from spinegrade.crop.settings import check_sequences, sequence_from_config
from spinegrade.geometry.affine import to_mm
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_LEVELS, SUBARTICULAR
from spinegrade.runtime.arrays import open_array
from spinegrade.tables.files import empty_table, read_table, write_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.sequences import SEQUENCES
from spinegrade.tables.stacks import STACKS
from spinegrade.volumes import Stack

SIDE = 41


def axial(
    folder: Path,
    slices: int,
    step: float = 1.0,
    bottom: float = 0.0,
    volume: np.ndarray | None = None,
    turned: bool = False,
    **names: object,
) -> Stack:
    """An axial stack of 41 x 41 mm about x = y = 0 whose lowest slice is at ``bottom`` mm.

    ``turned``: columns grow to the front and rows to the right, instead of to left and back.
    """
    if volume is None:
        volume = np.zeros((slices, SIDE, SIDE), np.int16)
    corner = np.array([20.0, 20, bottom] if turned else [-20.0, -20, bottom])
    columns, rows = ([0, -1, 0], [-1, 0, 0]) if turned else ([1, 0, 0], [0, 1, 0])
    affine = affine_of(columns, rows, [0, 0, step], corner)
    return write_stack(folder, volume, affine, **({"plane": "axial"} | names))


def point(level: str, side: str, z_mm: float, stack: Stack, confidence: float = 0.9, **more):
    """A keypoint of the study at height ``z_mm`` that lies in ``stack``."""
    return {
        **{"study": stack.study, "series": stack.series, "stack": stack.stack, "index": 0},
        **{"condition": SUBARTICULAR, "level": level, "side": side, "x_px": 1.0, "y_px": 1.0},
        **{"x_mm": 0.0, "y_mm": 0.0, "z_mm": float(z_mm), "confidence": confidence},
        **{"source": "axial fold 1"},
        **more,
    }


def both(level: str, z_mm: float, stack: Stack, **more) -> list[dict]:
    return [point(level, "left", z_mm, stack, **more), point(level, "right", z_mm, stack, **more)]


def ranges(stack: Stack, points: list[dict]) -> dict[str, tuple[float, int, int]]:
    """By level: where it lies, first and last slice."""
    table = pd.DataFrame(points, columns=list(KEYPOINTS.columns))
    found = level_ranges(stack, table)
    return {r.level: (round(r.position.z_index, 6), r.first, r.last) for r in found}


def test_a_level_reaches_half_the_gap_to_its_neighbours(tmp_path):
    stack = axial(tmp_path, 40)
    heights = dict(zip(LUMBAR_LEVELS, (37, 29, 21, 12, 4), strict=True))
    points = [
        point(level, side, z + shift, stack)
        for level, z in heights.items()
        for side, shift in (("left", -0.5), ("right", 0.5))
    ]
    # Gaps 8, 8, 9 and 8 from the head down; 16.5 is rounded to the even 16, 41 is beyond the end.
    assert ranges(stack, points) == {
        "l1_l2": (37, 33, 39),
        "l2_l3": (29, 25, 33),
        "l3_l4": (21, 16, 25),
        "l4_l5": (12, 8, 16),
        "l5_s1": (4, 0, 8),
    }


def test_a_level_between_that_is_unknown_takes_its_share(tmp_path):
    stack = axial(tmp_path, 40)
    points = both("l2_l3", 30, stack) + both("l4_l5", 14, stack)
    assert ranges(stack, points) == {"l2_l3": (30, 26, 34), "l4_l5": (14, 10, 18)}


def test_a_lone_level_reaches_15_mm(tmp_path):
    stack = axial(tmp_path, 20, step=5)
    assert ranges(stack, both("l4_l5", 50, stack)) == {"l4_l5": (10, 7, 13)}
    assert ranges(stack, []) == {}


def test_levels_at_one_place_have_that_slice_alone(tmp_path):
    stack = axial(tmp_path, 20)
    points = both("l3_l4", 9, stack) + both("l4_l5", 9, stack)
    assert ranges(stack, points) == {"l3_l4": (9, 9, 9), "l4_l5": (9, 9, 9)}


def test_levels_in_the_wrong_order_still_have_ranges(tmp_path):
    stack = axial(tmp_path, 20)
    points = both("l3_l4", 6, stack) + both("l4_l5", 12, stack)
    assert ranges(stack, points) == {"l3_l4": (6, 3, 9), "l4_l5": (12, 9, 15)}


def test_the_most_confident_point_of_a_side_counts_and_one_side_serves(tmp_path):
    stack = axial(tmp_path, 40)
    points = [
        point("l4_l5", "left", 10, stack, 0.5),
        point("l4_l5", "left", 30, stack, 0.4),
        point("l4_l5", "right", 12, stack, 0.7, source="another"),
        point("l3_l4", "right", 25, stack, 0.2),
    ]
    found = {r.level: r for r in level_ranges(stack, pd.DataFrame(points))}
    assert found["l4_l5"].position == (11.0, True, 0.5, "another")
    assert found["l3_l4"].position.z_index == 25.0 and found["l3_l4"].first == 18


def test_stacks_of_a_study_share_its_levels(tmp_path):
    """Two oblique blocks as they are usual, one through stack, and one just above a level."""
    low = axial(tmp_path, 6, 4, bottom=0)
    high = axial(tmp_path, 6, 4, bottom=30, stack=1)
    through = axial(tmp_path, 15, 5, bottom=-10, series="2")
    beside = axial(tmp_path, 4, 4, bottom=12, series="3")
    points = both("l5_s1", 8, low) + both("l4_l5", 42, high)
    # The gap is 34 mm: 4.25 slices of 4 mm each way, or 3.4 of 5 mm.
    assert ranges(low, points) == {"l5_s1": (2, 0, 5)}
    assert ranges(high, points) == {"l4_l5": (3, 0, 5)}
    assert ranges(through, points) == {"l4_l5": (10.4, 7, 14), "l5_s1": (3.6, 0, 7)}
    assert ranges(beside, points) == {"l5_s1": (-1, 0, 3)}
    # Points of its own count before those of others.
    own = [*points, *both("l5_s1", 20, through)]
    assert ranges(through, own)["l5_s1"] == (6, 4, 8)
    assert ranges(low, own)["l5_s1"][0] == 2


def test_points_reach_a_tilted_stack_along_its_normal(tmp_path):
    # Rows rise 3 in 5: the normal is (0, -0.6, 0.8), three mm a slice.
    across = 3 * np.array([0, -0.6, 0.8])
    affine = affine_of([1, 0, 0], [0, 0.8, 0.6], across, np.array([-20, -16, -12]))
    stack = write_stack(tmp_path, np.zeros((9, SIDE, SIDE), np.int16), affine, plane="axial")
    sagittal = {"series": "8", "condition": FORAMINAL}
    middle = to_mm(affine, [[20, 20, 4.5]])[0]
    left = middle + [12, 0, 0] + 0.5 * across
    right = middle - [12, 0, 0] + [0, 8, 6]
    places = {"left": left, "right": right}
    points = [
        point("l4_l5", side, p[2], stack, x_mm=p[0], y_mm=p[1], **sagittal)
        for side, p in places.items()
    ]
    # 4.5 and half a slice, the mean of left and right is 4.75; a lone level reaches 5 slices.
    assert ranges(stack, points) == {"l4_l5": (4.75, 0, 8)}


def write_shard(folder: Path, stacks: list[Stack], points: list[dict], landmarks: list[dict]):
    """The tables of a shard; their paths, as ``write_sequences`` takes them."""
    paths = {
        "keypoints": folder / "keypoints.parquet",
        "stacks": folder / "0" / "stacks.parquet",
        "landmarks": folder / "landmarks.parquet",
        "folds": folder / "folds.parquet",
    }
    write_table(
        paths["stacks"], pd.DataFrame([stack_row(stack, folder) for stack in stacks]), STACKS
    )
    write_table(paths["keypoints"], pd.DataFrame(points), KEYPOINTS)
    write_table(paths["landmarks"], pd.DataFrame(landmarks), LOCATED_LANDMARKS)
    folds = pd.DataFrame({"study": ["a", "b"], "fold": [2, 0], "stratum": [0, 0]})
    write_table(paths["folds"], folds, FOLDS)
    return paths


# 41 mm are 82 pixels of the frame; 42 of them, 21 mm, are cut at one mm a pixel.
SET = sequence_from_config(
    "levels",
    {"detector": "axial_t2", "unit": "frame", "size": 42, "output_px": 21, "frame_px": 82},
)


def shard(folder: Path) -> tuple[list[Stack], dict[str, Path]]:
    """Two studies with three axial stacks and a sagittal one: slice k of stack s is 20 s + k + 1.

    The study "a" has a bright dot 3 mm to the left and 2 to the front of the middle.
    """
    stacks = []
    for number, (study, series, turned) in enumerate(
        [("b", "5", False), ("a", "9", True), ("a", "4", False)]
    ):
        slices = 5 + number
        values = 20 * number + np.arange(1, slices + 1, dtype=np.int16)
        volume = np.broadcast_to(values[:, None, None], (slices, SIDE, SIDE)).copy()
        if study == "a":
            # Columns grow to the left and rows to the back; or to the right and to the front.
            y, x = (18, 23) if not turned else (17, 22)
            volume[2, y, x] = 255
        stacks.append(
            axial(folder, slices, 5, volume=volume, turned=turned, study=study, series=series)
        )
    sagittal = write_stack(
        folder,
        np.zeros((4, 9, 9), np.int16),
        affine_of([0, 1, 0], [0, 0, -1], [5, 0, 0], np.zeros(3)),
        study="a",
        series="1",
    )
    _, nine, four = stacks
    points = both("l4_l5", 20, nine) + both("l5_s1", 5, nine)
    landmarks = [
        point("l4_l5", "left", 20, nine),
        point("l4_l5", "right", 20, four),
        point("l5_s1", "right", 5, nine, condition=FORAMINAL),
    ]
    return stacks, write_shard(folder, [*stacks, sagittal], points, landmarks)


def test_every_axial_slice_is_stored_once_the_right_way_round(tmp_path):
    _, paths = shard(tmp_path)
    array, table = tmp_path / "slices.npy", tmp_path / "sequences.parquet"
    write_sequences(SET, **paths, array=array, table=table)
    slices = open_array(array)
    # By study and series: a 4 (7 slices), a 9 (6), b 5 (5); each from feet to head.
    assert slices.shape == (18, 21, 21) and slices.dtype == np.uint8
    expected = [*range(41, 48), *range(21, 27), *range(1, 6)]
    assert slices[:, 0, 0].tolist() == expected
    dots = np.argwhere(slices == 255).tolist()
    assert dots == [[2, 8, 13], [9, 8, 13]], "3 mm to the left, 2 to the front, in both"

    read = read_table(table, SEQUENCES).set_index(["series", "level"])
    assert set(read["study"]) == {"a"}, "without points b has slices, but no rows"
    assert read.index.tolist() == [(s, level) for s in "49" for level in ("l4_l5", "l5_s1")]
    assert read["start"].tolist() == [0, 0, 7, 7] and read["slices"].tolist() == [7, 7, 6, 6]
    # The gap is three slices; 5.5 ends with a 9, 2.5 is rounded to the even 2.
    assert read["z_index"].tolist() == [4, 1, 4, 1]
    assert read["first"].tolist() == [2, 0, 2, 0] and read["last"].tolist() == [6, 2, 5, 2]
    assert read["left_graded"].tolist() == [False, False, True, False]
    assert read["right_graded"].tolist() == [True, False, False, False]
    assert read["fold"].tolist() == [2] * 4 and set(read["source"]) == {"axial fold 1"}


def test_to_models_from_elsewhere_nothing_is_graded(tmp_path):
    _, paths = shard(tmp_path)
    table = tmp_path / "sequences.parquet"
    paths |= {"landmarks": None, "folds": None}
    write_sequences(SET, **paths, array=tmp_path / "slices.npy", table=table)
    read = read_table(table, SEQUENCES)
    assert len(read) == 4
    assert read[["left_graded", "right_graded", "fold"]].isna().all(axis=None)


def test_a_study_without_fold_is_new_among_others(tmp_path):
    stacks, paths = shard(tmp_path)
    points = read_table(paths["keypoints"], KEYPOINTS)
    table = sequence_table(stacks[1:], points, empty_table(LOCATED_LANDMARKS), {"b": 0})
    assert table["fold"].isna().all() and table["left_graded"].isna().all()
    table = sequence_table(stacks[1:], points, empty_table(LOCATED_LANDMARKS), {"a": 0})
    assert not table["left_graded"].any() and table["start"].tolist() == [0, 0, 6, 6]


def test_a_damaged_study_is_left_out_and_a_deleted_volume_stops(tmp_path, caplog):
    stacks, paths = shard(tmp_path)
    stacks[2].path.write_bytes(b"nothing")
    array = tmp_path / "slices.npy"
    out = {"array": array, "table": tmp_path / "sequences.parquet"}
    write_sequences(SET, **paths, **out)
    assert open_array(array).shape == (5, 21, 21) and "study a gets no axial" in caplog.text
    assert read_table(out["table"], SEQUENCES).empty
    stacks[2].path.unlink()
    with refused("VOLUME_MISSING", stacks[2].path, "convert_dicom"):
        write_sequences(SET, **paths, **out)


def test_a_shard_without_axial_stacks_has_an_empty_store(tmp_path):
    _, paths = shard(tmp_path)
    write_table(paths["stacks"], empty_table(STACKS), STACKS)
    array, table = tmp_path / "slices.npy", tmp_path / "sequences.parquet"
    write_sequences(SET, **paths, array=array, table=table)
    assert np.load(array, allow_pickle=False).shape == (0, 21, 21)
    assert read_table(table, SEQUENCES).empty


def test_impossible_sequence_sets_are_refused():
    block = {"detector": "axial_t1"}
    key = "crop.sequences.x.detector"
    with refused("CROPS_DETECTOR_UNKNOWN", "axial_t1", "axial_t2", key=key):
        check_sequences({"x": block}, [], ["axial_t2"])
    with refused("CROPS_NAME_TAKEN", key="crop.sequences.x"):
        check_sequences({"x": block}, ["x"], ["axial_t1"])
