"""One-stage samples: whole stacks on a canvas, points that lead back into the patient."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from keypoint_helpers import affine_of, write_stack
from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import to_mm
from spinegrade.grade.volumes.canvas import CanvasGeometry, on_canvas
from spinegrade.grade.volumes.samples import mean_shape_of, new_samples, training_samples
from spinegrade.grade.volumes.store import StackKey, open_volumes, write_volumes
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_LEVELS, SPINAL
from spinegrade.volumes import Stack

BACK, FEET = np.array([0, 1.0, 0]), np.array([0, 0, -1.0])
TURNS = {
    "usual": (BACK, FEET),
    "flipped": (-BACK, -FEET),
    "transposed": (FEET, BACK),
    "transposed and flipped": (-FEET, BACK),
}


def sagittal(
    folder: Path,
    shape: tuple[int, int, int] = (4, 30, 24),
    spacing: tuple[float, float] = (2.0, 2.0),
    turn: str = "usual",
    volume: np.ndarray | None = None,
    **names: object,
) -> Stack:
    """A sagittal stack of ``shape``; ``spacing`` mm between columns and rows."""
    columns, rows = TURNS[turn]
    across, first = np.array([4.0, 0.1, 0]), np.array([-7.0, 3, 81])
    affine = affine_of(columns * spacing[0], rows * spacing[1], across, first)
    array = np.zeros(shape, np.int16) if volume is None else volume
    return write_stack(folder, array, affine, **{"weighting": "t1", **names})


def landmark_rows(stack: Stack, points: np.ndarray, condition: str = FORAMINAL) -> list[dict]:
    """Rows of located landmarks, (P, 3) x_px, y_px and index in ``stack``."""
    sides = ("central",) if condition == SPINAL else ("left", "right")
    cells = [(side, level) for side in sides for level in LUMBAR_LEVELS]
    rows = []
    for (side, level), (x, y, index) in zip(cells, points, strict=True):
        mm = to_mm(stack.affine, [[x, y, index]])[0]
        rows.append(
            {"study": stack.study, "series": stack.series, "stack": stack.stack}
            | {"index": int(index), "condition": condition, "level": level, "side": side}
            | {"x_px": x, "y_px": y, "x_mm": mm[0], "y_mm": mm[1], "z_mm": mm[2]}
            | {"confidence": 1.0, "source": "annotated"}
        )
    return rows


def ten_points() -> np.ndarray:
    """Left ones in slice 3, right ones in slice 0."""
    y = 4 + 5.0 * np.arange(5)
    left, right = (np.stack([x + 0 * y, y, z + 0 * y], 1) for x, z in ((12.25, 3), (10.5, 0)))
    return np.concatenate([left, right])


def labels(rows: list[tuple[str, str, str, object]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["study", "level", "side", "grade"])
    return table.assign(condition=FORAMINAL).astype({"grade": "Int64"})


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("spacing", [(2.0, 2.0), (1.0, 3.0)])
def test_points_lead_back_to_pixels_and_millimetres(
    tmp_path: Path, turn: str, spacing: tuple[float, float]
) -> None:
    volume = np.zeros((4, 30, 24), np.int16)
    volume[2, 8:11, 13:16] = 250
    stack = sagittal(tmp_path, spacing=spacing, turn=turn, volume=volume)
    canvas = on_canvas(stack, 96)
    assert canvas.shape == (4, 96, 96) and canvas.dtype == np.uint8
    geometry = CanvasGeometry(stack, 96)
    # Columns to the back, rows to the feet, and square: a canvas pixel is as wide as high.
    whole = stack.affine @ geometry.to_pixels
    unit = np.linalg.norm(whole[:3, :2], axis=0)
    np.testing.assert_allclose(whole[:3, :2] / unit, np.stack([BACK, FEET], 1), atol=1e-9)
    assert unit[0] == pytest.approx(unit[1], rel=0.03)
    np.testing.assert_allclose(whole[:3, 2], stack.affine[:3, 2])
    # The bright block's middle on the canvas is pixel (14, 9) of slice 2.
    z, y, x = np.nonzero(canvas)
    weight = canvas[z, y, x].astype(float)
    place = [(axis * weight).sum() / weight.sum() for axis in (x, y, z)]
    np.testing.assert_allclose(to_mm(geometry.to_pixels, [place])[0], [14, 9, 2], atol=0.05)
    points = np.random.default_rng(1).uniform(0, 23, (10, 3))
    points[:, 2] = [3] * 5 + [0] * 5
    table = pd.DataFrame(landmark_rows(stack, points))
    samples = training_samples("foraminal", [stack], table, labels([]), ["s"], canvas=96)
    assert samples.known.all() and samples.points.dtype == np.float32
    back = to_mm(samples.to_pixels[0], samples.points[0])
    np.testing.assert_allclose(back, points, atol=1e-5)  # float32 points
    exact = np.linalg.solve(geometry.to_pixels, np.c_[points, np.ones(10)].T)
    np.testing.assert_allclose((geometry.to_pixels @ exact)[:3].T, points, atol=1e-6)
    mm = (stack.affine @ geometry.to_pixels @ exact)[:3].T
    np.testing.assert_allclose(mm, table[["x_mm", "y_mm", "z_mm"]], atol=1e-6)


def test_the_longer_side_fills_the_canvas_and_the_rest_is_black(tmp_path: Path) -> None:
    random = np.random.default_rng(0).integers(1, 256, (2, 32, 16))
    stack = sagittal(tmp_path, (2, 32, 16), volume=random.astype(np.int16))
    canvas = on_canvas(stack, 64)
    assert not canvas[:, :, :16].any() and not canvas[:, :, 48:].any()
    expected = cv2.resize(random[1].astype(np.uint8), (32, 64), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(canvas[1, :, 16:48], expected)
    # A quarter as large: the mean of four by four pixels.
    small = on_canvas(stack, 8)
    mean = random.reshape(2, 8, 4, 4, 4).mean(axis=(2, 4))
    assert np.abs(small[:, :, 2:6] - mean).max() <= 0.5
    same = on_canvas(stack, 32)
    assert np.array_equal(same[:, :, 8:24], random)


def test_grades_and_sides_stand_by_their_points(tmp_path: Path) -> None:
    stack = sagittal(tmp_path)
    table = pd.DataFrame(landmark_rows(stack, ten_points()))
    graded = labels(
        [("s", "l1_l2", "right", 2), ("s", "l5_s1", "left", 1), ("s", "l3_l4", "left", None)]
    )
    samples = training_samples("foraminal", [stack], table, graded, ["s"], canvas=60, fold=2)
    assert samples.grades.tolist() == [[-1, -1, -1, -1, 1, 2, -1, -1, -1, -1]]
    assert samples.points[0, :, 2].tolist() == [3.0] * 5 + [0.0] * 5
    # 30 rows fill 60 px: x doubles about pixel centres, and 6 black columns stand before it.
    np.testing.assert_allclose(samples.points[0, 0], [2 * 12.75 - 0.5 + 6, 2 * 4.5 - 0.5, 3])
    assert (samples.studies, samples.series, samples.stacks) == (("s",), ("1",), (0,))
    assert (samples.fold, samples.lengths, len(samples)) == (2, [4], 1)


def test_the_stack_with_most_landmarks_counts_then_the_one_with_most_slices(tmp_path: Path) -> None:
    short = sagittal(tmp_path, series="1")
    long = sagittal(tmp_path, (6, 30, 24), series="2")
    other = sagittal(tmp_path, (9, 30, 24), series="3", weighting="t2")
    stacks = [short, long, other]
    of_short = pd.DataFrame(landmark_rows(short, ten_points()))
    of_both = pd.concat([of_short, pd.DataFrame(landmark_rows(long, ten_points()))])

    def chosen(table: pd.DataFrame) -> str:
        found = training_samples("foraminal", stacks, table, labels([]), ["s"], canvas=48)
        return found.series[0]

    assert chosen(of_short) == "1"
    assert chosen(of_both) == "2"
    # To predict, landmarks have no say.
    assert new_samples("foraminal", stacks, ["s"], canvas=48).series == ("2",)
    every = new_samples("foraminal", stacks, ["s"], canvas=48, every_stack=True)
    assert every.series == ("1", "2") and every.lengths == [4, 6]
    assert not every.known.any() and (every.grades == -1).all() and not every.points.any()
    assert new_samples("canal", stacks, ["s"], canvas=48).points.shape == (1, 5, 3)


def test_incomplete_studies_are_left_out_by_name_or_taken_when_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stacks = [sagittal(tmp_path, study=name) for name in ("a", "b")]
    stacks.append(sagittal(tmp_path, (1, 30, 24), study="c"))
    rows = [landmark_rows(stack, ten_points()) for stack in stacks]
    table = pd.DataFrame(rows[0] + rows[1][:7] + rows[2])
    asked = ["c", "b", "a", "d"]
    with caplog.at_level(logging.WARNING, "spinegrade"):
        samples = training_samples("foraminal", stacks, table, labels([]), asked, canvas=48)
    assert samples.studies == ("a",)
    assert "b (7), c (0), d (0)" in caplog.text
    partial = training_samples(
        "foraminal", stacks, table, labels([]), asked, canvas=48, partial_studies=True
    )
    assert partial.studies == ("a", "b")
    assert partial.known[1].tolist() == [True] * 7 + [False] * 3
    assert not partial.points[1, 7:].any()
    assert partial.of(["b"]).studies == ("b",) and partial.of(["b"]).known.sum() == 7
    with pytest.raises(SpinegradeError, match=r"network nfn, fold 1: none of the 2 training"):
        training_samples(
            "foraminal", stacks, table, labels([]), ["b", "d"], canvas=48, fold=1, network="nfn"
        )
    with pytest.raises(SpinegradeError, match=r"network canal, fold 0: none of the 4 studies"):
        new_samples("canal", stacks, asked, fold=0)
    with pytest.raises(SpinegradeError, match="study c, series 1, stack 0: it has one slice"):
        on_canvas(stacks[2], 48)
    with pytest.raises(SpinegradeError, match="target 'axial' has no one-stage network"):
        new_samples("axial", stacks, asked)


def test_of_a_landmark_annotated_twice_the_first_counts(tmp_path: Path) -> None:
    stack = sagittal(tmp_path)
    again = ten_points()
    again[:, 0] += 5
    rows = landmark_rows(stack, ten_points()) + landmark_rows(stack, again)
    one, two = (
        training_samples("foraminal", [stack], pd.DataFrame(part), labels([]), ["s"], canvas=48)
        for part in (rows[:10], rows)
    )
    assert np.array_equal(one.points, two.points)


def test_the_mean_shape_is_that_of_the_complete_samples(tmp_path: Path) -> None:
    stacks = [sagittal(tmp_path, study=name) for name in ("a", "b", "c")]
    points = ten_points()
    larger = points * [1.1, 1.1, 1]
    rows = landmark_rows(stacks[0], points) + landmark_rows(stacks[1], larger)
    table = pd.DataFrame(rows + landmark_rows(stacks[2], points[::-1])[:9])
    samples = training_samples(
        "foraminal", stacks, table, labels([]), ["a", "b", "c"], canvas=60, partial_studies=True
    )
    # One shape in two sizes, 1 and 1.1, on a canvas twice as fine: their mean is 1.05 of it.
    middle = points[:, :2] - points[:, :2].mean(axis=0)
    np.testing.assert_allclose(mean_shape_of(samples), 2 * 1.05 * middle, atol=1e-4)
    with pytest.raises(SpinegradeError, match="none of the 1 samples has all of its 10 points"):
        mean_shape_of(samples.of(["c"]))


def test_prepared_canvases_are_mapped_and_hold_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    stacks = [
        sagittal(
            tmp_path,
            (size, 30, 24),
            study=name,
            volume=random.integers(0, 255, (size, 30, 24), np.int16),
        )
        for name, size in (("a", 3), ("b", 5))
    ]
    path = tmp_path / "slices.npy"
    write_volumes(path, stacks, 48)
    opened = open_volumes(path, stacks, 48)
    assert list(opened) == [StackKey("a", "1", 0), StackKey("b", "1", 0)]
    made = new_samples("foraminal", stacks, ["a", "b"], canvas=48)
    mapped = new_samples("foraminal", stacks, ["a", "b"], canvas=48, volumes=opened)
    for one, other in zip(made.volumes, mapped.volumes, strict=True):
        assert np.array_equal(one, other)
        assert isinstance(other, np.memmap) and not other.flags.writeable
    with pytest.raises(
        SpinegradeError, match=r"holds uint8 \(8, 48, 48\), expected .*\(3, 48, 48\)"
    ):
        open_volumes(path, stacks[:1], 48)
    del opened[StackKey("b", "1", 0)]
    with pytest.raises(SpinegradeError, match="study b, series 1, stack 0: no canvas"):
        new_samples("foraminal", stacks, ["a", "b"], canvas=48, volumes=opened)
