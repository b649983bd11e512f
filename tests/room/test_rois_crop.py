"""Crops: where their pixels lie and what they hold, on volumes with one bright voxel."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from refusals import refused
from spinegrade.crop.build import Jitter, crop_shard, find_centre, read_jitter
from spinegrade.crop.crop import crop_affine, crop_pixels
from spinegrade.crop.settings import InPlane, RoiSet, Slices, check_roi_sets, roi_set_from_config
from spinegrade.geometry.affine import affine_from_columns, affine_from_dicom, to_mm, to_pixels
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS, LUMBAR_MRI, SPINAL, SUBARTICULAR
from spinegrade.regions.region import Cell
from spinegrade.volumes import Stack

SAGITTAL = [0.0, 1, 0, 0, 0, -1]
AXIAL = [1.0, 0, 0, 0, 1, 0]


def rotation(degrees: float, axis: list[float]) -> np.ndarray:
    """Rodrigues' rotation matrix."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def make_stack(
    tmp_path: Path,
    volume: np.ndarray,
    plane: str = "sagittal",
    orientation: list[float] | None = None,
    spacing_mm: tuple[float, float] = (0.5, 0.5),
    step: float = 4.0,
    turn: np.ndarray | None = None,
    series: str = "7",
    weighting: str = "t2",
) -> Stack:
    direction = np.array(orientation or (SAGITTAL if plane == "sagittal" else AXIAL))
    turn = np.eye(3) if turn is None else turn
    direction = np.concatenate([turn @ direction[:3], turn @ direction[3:]])
    along = turn @ (np.array([1.0, 0, 0]) if plane == "sagittal" else np.array([0, 0, 1.0]))
    affine = affine_from_dicom(direction, spacing_mm, [-30.0, -20, 50], along * step)
    path = tmp_path / f"{series}.nii"
    nibabel.save(nibabel.Nifti1Image(volume.transpose(2, 1, 0), np.eye(4)), path)
    slices, rows, cols = volume.shape
    return Stack(
        *("s1", series, 0, "train", plane, weighting, slices, rows, cols),
        *(affine, 0.0, 255.0, path),
    )


def roi(unit: str = "mm", size: float = 16.0, **more: object) -> RoiSet:
    return RoiSet(
        name="canal",
        detector="d",
        conditions=(SPINAL,),
        in_plane=InPlane(unit, size, output_px=17, margin_px=4),
        slices=Slices(count=3, margin=1),
        **more,
    )


def bright(shape: tuple[int, int, int], z: int, y: int, x: int) -> np.ndarray:
    volume = np.zeros(shape, np.int16)
    volume[z, y, x] = 255
    return volume


TURNS = [np.eye(3), rotation(20, [1, 0, 0]), rotation(-25, [1, 2, 3])]


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("plane", ["sagittal", "axial"])
@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5), (0.8, 0.6)])
@pytest.mark.parametrize("unit", ["mm", "px"])
def test_the_keypoint_lands_in_the_middle(tmp_path, turn, plane, spacing_mm, unit):
    volume = bright((9, 60, 70), 4, 30, 40)
    stack = make_stack(tmp_path, volume, plane, spacing_mm=spacing_mm, turn=turn)
    # A crop pixel no larger than a voxel's, so that the voxel's value is met.
    roi_set = roi(unit, 17 * (0.5 if unit == "mm" else 1.0))
    affine = crop_affine(roi_set, stack, (40.0, 30.0, 4))
    assert roi_set.stored_shape == (5, 25, 25)
    np.testing.assert_allclose(to_mm(affine, [[12, 12, 2]]), to_mm(stack.affine, [[40, 30, 4]]))
    pixels = crop_pixels(roi_set, stack, stack.open(), affine)
    assert pixels.shape == (5, 25, 25) and pixels.dtype == np.uint8
    assert np.unravel_index(pixels.argmax(), pixels.shape) == (2, 12, 12)
    assert pixels[2, 12, 12] == 255


def test_every_crop_pixel_shows_its_place_in_the_volume(tmp_path):
    # A ramp is linear: linear interpolation must meet it everywhere, slices included.
    z, y, x = np.mgrid[:9, :60, :70]
    volume = (2 * x + y + 7 * z).astype(np.int16)
    stack = make_stack(tmp_path, volume, spacing_mm=(0.7, 0.5), turn=rotation(15, [0, 1, 1]))
    for slices in (Slices(3, None, 1), Slices(3, 2.5, 1)):
        roi_set = replace(roi(size=12.0), slices=slices)
        affine = crop_affine(roi_set, stack, (33.3, 27.8, 4))
        pixels = crop_pixels(roi_set, stack, stack.open(), affine)
        grid = np.indices(pixels.shape).reshape(3, -1).T[:, ::-1]
        where = to_pixels(stack.affine, to_mm(affine, grid))
        expected = where @ [2, 1, 7]
        np.testing.assert_allclose(pixels.ravel(), expected, atol=0.51)


def test_millimetres_and_pixels(tmp_path):
    stack = make_stack(tmp_path, bright((9, 60, 70), 4, 30, 40), spacing_mm=(0.8, 0.4))
    in_mm = crop_affine(roi("mm", 34.0), stack, (40, 30, 4))
    np.testing.assert_allclose(np.linalg.norm(in_mm[:3, :2], axis=0), [2.0, 2.0])
    in_px = crop_affine(roi("px", 34.0), stack, (40, 30, 4))
    # Two pixels of the stack a crop pixel: 0.4 mm between columns, 0.8 between rows.
    np.testing.assert_allclose(np.linalg.norm(in_px[:3, :2], axis=0), [0.8, 1.6])
    np.testing.assert_allclose(np.linalg.norm(in_px[:3, 2]), 4.0)


@pytest.mark.parametrize(
    "orientation",
    [[0, 1, 0, 0, 0, -1], [0, -1, 0, 0, 0, -1], [0, 0, -1, 0, 1, 0], [0, 0, 1, 0, -1, 0]],
)
def test_crops_look_alike_however_rows_are_stored(tmp_path, orientation):
    stack = make_stack(tmp_path, np.zeros((9, 60, 60), np.int16), orientation=orientation)
    affine = crop_affine(roi(), stack, (30, 30, 4))
    steps = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    np.testing.assert_allclose(steps, np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0.0]]), atol=1e-12)


def test_large_crop_pixels_are_averages(tmp_path):
    # A checkerboard of 0 and 255: sampled it would be stripes, averaged it is grey.
    _, y, x = np.indices((9, 200, 200))
    stack = make_stack(tmp_path, (255 * ((x + y) % 2)).astype(np.int16))
    roi_set = roi("px", 17 * 4.0)
    affine = crop_affine(roi_set, stack, (100, 100, 4))
    pixels = crop_pixels(roi_set, stack, stack.open(), affine)
    assert np.ptp(pixels.astype(int)) <= 1 and abs(int(pixels[2, 12, 12]) - 127) <= 1


def test_beyond_the_image(tmp_path):
    stack = make_stack(tmp_path, np.full((3, 40, 40), 200, np.int16))
    affine = crop_affine(roi(size=17 * 0.5), stack, (0, 20, 0))
    pixels = crop_pixels(roi(size=17 * 0.5), stack, stack.open(), affine)
    assert (pixels[:, :, :11] == 0).all() and (pixels[:, :, 13:] == 200).all()
    assert (pixels[0, :, 13:] == 200).all(), "beyond the first slice it is that slice"


def keypoint(stack: Stack, cell: Cell, x: float, y: float, index: int, confidence: float = 0.8):
    x_mm, y_mm, z_mm = to_mm(stack.affine, [[x, y, index]])[0]
    return {
        **{"study": "s1", "series": stack.series, "stack": 0, "index": index},
        **cell._asdict(),
        **{"x_px": x, "y_px": y, "x_mm": x_mm, "y_mm": y_mm, "z_mm": z_mm},
        **{"confidence": confidence, "source": "d fold 0"},
    }


def test_centres_of_pairs_and_of_another_image(tmp_path):
    sagittal = make_stack(tmp_path, np.zeros((15, 60, 60), np.int16))
    axial = make_stack(tmp_path, np.zeros((9, 80, 90), np.int16), "axial", series="9")
    left, right = (Cell(SUBARTICULAR, "l4_l5", side) for side in ("left", "right"))
    points = pd.DataFrame(
        [keypoint(axial, left, 60, 40, 3, 0.9), keypoint(axial, right, 40, 42, 3, 0.6)]
    )
    canal = Cell(SPINAL, "l4_l5", "central")
    stacks = [sagittal, axial]
    middle = find_centre(roi(around="pair"), canal, points, stacks)
    assert middle.stack is axial and middle.confidence == 0.6
    np.testing.assert_allclose(middle.point_px, (50, 41, 3))
    assert find_centre(roi(around="pair"), canal, points.iloc[:1], stacks) is None
    assert find_centre(roi(), Cell(SPINAL, "l3_l4", "central"), points, stacks) is None

    points = pd.DataFrame([keypoint(sagittal, canal, 30, 21, 7)])
    across = find_centre(roi(image=("axial", "t2")), canal, points, stacks)
    assert across is None, "z = 39.5 mm is 10.5 mm below the axial stack"
    # Half a pixel beside the last one of its own image a point is still shown.
    for x, shown in ((59.4, True), (59.6, False)):
        beside = pd.DataFrame([keypoint(sagittal, canal, x, 21, 7)])
        assert (find_centre(roi(), canal, beside, stacks) is not None) == shown
        assert find_centre(roi(keep_inside=True), canal, beside, stacks) is not None
    near = find_centre(roi(image=("axial", "t2"), max_distance_mm=11), canal, points, stacks)
    assert near.stack is axial and near.point_px[2] == 0 and near.crosses_planes


def shard_inputs(tmp_path):
    stack = make_stack(tmp_path, bright((9, 60, 70), 4, 30, 40))
    points = pd.DataFrame(
        [keypoint(stack, Cell(SPINAL, level, "central"), 40, 30, 4) for level in ("l3_l4", "l4_l5")]
    )
    labels = pd.DataFrame([{"study": "s1", **cell._asdict(), "grade": 2} for cell in LUMBAR_CELLS])
    folds = pd.DataFrame({"study": ["s1"], "fold": [1], "stratum": [0]})
    return stack, points, labels, folds


def test_a_shard_has_a_row_a_keypoint(tmp_path):
    stack, points, labels, folds = shard_inputs(tmp_path)
    crops, table = crop_shard(roi(), points, [stack], labels, folds, Jitter(1.5, 0.4), LUMBAR_MRI)
    assert crops.shape == (2, 5, 25, 25)
    assert table["level"].tolist() == ["l3_l4", "l4_l5"] and table["row"].tolist() == [0, 1]
    assert table["grade"].tolist() == [2, 2] and table["fold"].tolist() == [1, 1]
    assert table["jitter_in_plane_mm"].tolist() == [1.5, 1.5]
    affine = affine_from_columns(table.iloc[0])
    np.testing.assert_allclose(
        to_mm(affine, [[12, 12, 2]])[0], table.loc[0, ["x_mm", "y_mm", "z_mm"]].to_numpy(float)
    )
    _, new = crop_shard(roi(), points, [stack], labels, None, Jitter(1.5, 0.4), LUMBAR_MRI)
    assert new["fold"].isna().all()


def test_a_crop_that_shows_nothing_is_none(tmp_path, caplog):
    stack, points, labels, folds = shard_inputs(tmp_path)
    volume = bright((9, 60, 70), 4, 30, 40)
    volume[:, 0, 0] = 200  # a speck that the margin alone may hold
    stack = make_stack(tmp_path, volume)
    cells = [Cell(SPINAL, level, "central") for level in ("l1_l2", "l2_l3", "l5_s1")]
    # At its edge; on black; and the speck just beyond the 17 px seen, within the margin.
    beside, black, speck = (-0.4, 59.0), (60.0, 12.0), (17.0, 17.0)
    extra = [
        keypoint(stack, cell, *place, 4)
        for cell, place in zip(cells, (beside, black, speck), strict=True)
    ]
    points = pd.concat([points, pd.DataFrame(extra)], ignore_index=True)
    crops, table = crop_shard(roi(), points, [stack], labels, folds, Jitter(1.5, 0.4), LUMBAR_MRI)
    assert table["level"].tolist() == ["l3_l4", "l4_l5"] and table["row"].tolist() == [0, 1]
    assert len(crops) == 2 and crops[0].any() and crops[1].any()
    assert "study s1 gets no crop of canal at spinal_canal_stenosis_l1_l2, " in caplog.text
    # The same speck among the pixels seen is a picture.
    points.loc[4, ["x_px", "y_px"]] = [14.0, 14.0]
    _, table = crop_shard(roi(), points, [stack], labels, folds, Jitter(1.5, 0.4), LUMBAR_MRI)
    assert "l5_s1" in table["level"].tolist()


def test_one_bad_study_is_left_out(tmp_path, caplog):
    stack, points, labels, folds = shard_inputs(tmp_path)
    broken = replace(stack, study="s0", path=tmp_path / "broken.nii")
    broken.path.write_bytes(b"no volume")
    both = pd.concat([points.assign(study="s0"), points], ignore_index=True)
    _, table = crop_shard(roi(), both, [broken, stack], labels, folds, Jitter(1, 0), LUMBAR_MRI)
    assert set(table["study"]) == {"s1"}
    assert "study s0 gets no crops of canal" in caplog.text
    crops, table = crop_shard(roi(), both[:2], [broken], labels, folds, Jitter(1, 0), LUMBAR_MRI)
    assert crops.shape == (0, 5, 25, 25) and table.empty


def test_measured_errors_are_read_or_refused(tmp_path):
    path = tmp_path / "errors.json"
    path.write_text(json.dumps({"detector": "a", "in_plane_sd_mm": 2.0, "slice_sd": 0.5}))
    assert read_jitter(path, "a") == (2.0, 0.5)
    with refused("ERRORS_OF_ANOTHER", path, "'a'", "'b'"):
        read_jitter(path, "b")
    path.write_text(json.dumps({"detector": "b", "slice_sd": 1}))
    with refused("ERRORS_MALFORMED", path, "in_plane_sd_mm", None):
        read_jitter(path, "b")


def test_unusable_roi_sets_are_refused():
    block = {
        "detector": "sagital_t2",
        "conditions": ["foraminal"],
        "in_plane": {"unit": "mm", "size": 30, "output_px": 32},
    }
    with refused("CROPS_DETECTOR_UNKNOWN", "sagital_t2", "sagittal_t2", key="crop.sets.x.detector"):
        check_roi_sets({"x": block}, ["sagittal_t1", "sagittal_t2"], LUMBAR_MRI)
    with refused("CROPS_EVEN_COUNT", 4, key="crop.sets.x.slices.count"):
        roi_set_from_config("x", {**block, "slices": {"count": 4}}, LUMBAR_MRI)
