"""Padding counts neither in the window nor in a crop, is shown as background, and is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from dicom_helpers import AXIAL, write_slice
from numpy.typing import NDArray
from pydicom.uid import ImplicitVRLittleEndian
from scipy.spatial.transform import Rotation
from spinegrade.convert.series import convert_series, intensity_window
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.source import SeriesSource
from spinegrade.crop.crop import read_crop
from spinegrade.tables.files import check_table
from spinegrade.tables.stacks import STACKS
from spinegrade.volumes import Stack, stacks_of_table, window

SHAPE = (4, 20, 30)
PADDED = (slice(None), slice(None), slice(0, 5))


def picture(low: int = 1000, high: int = 1500) -> NDArray[np.int64]:
    """Values that grow evenly from ``low`` to ``high`` behind the padded columns."""
    volume = np.zeros(SHAPE, np.int64)
    volume[:, :, 5:] = np.linspace(low, high, 25).round().astype(int)
    return volume


def convert(
    folder: Path, volume: NDArray[np.int64], kind: str, *slices: dict[str, object]
) -> tuple[dict, Stack, NDArray[np.generic]]:
    """The row, the stack and the voxels of a series; ``slices``: changes of each, or of all."""
    for place, plane in enumerate(volume):
        changes = dict(slices[place % len(slices)])
        padding = {name: changes.pop(name) for name in ("value", "limit") if name in changes}
        path = folder / "in" / f"{place}.dcm"
        position = np.array([0, 0, 3.0 * place])
        write_slice(path, plane.astype(kind), AXIAL, position, place + 1, **changes)
        dataset = pydicom.dcmread(path)
        vr = "SS" if kind.startswith("i") else "US"
        for name, number in padding.items():
            dataset.add_new(0x00280120 if name == "value" else 0x00280121, vr, number)
        dataset.save_as(path)
    source = SeriesSource("1", "2", "train", "axial", "t2", folder / "in")
    result = convert_series(source, folder / "out", ConvertSettings())
    assert not result.rejected
    (row,) = result.stacks
    (stack,) = stacks_of_table(check_table(pd.DataFrame([row]), STACKS), folder / "out")
    return row, stack, np.asarray(stack.open())


WIDE = {"BitsStored": 16, "HighBit": 15}


@pytest.mark.parametrize(
    ("kind", "padding", "changes"),
    [
        ("u2", 65535, WIDE),
        ("u2", 0, WIDE),
        ("i2", -2000, WIDE),
        ("i2", 32767, WIDE),
        # More than the stored bits can hold: the cells are not cut down to tissue.
        ("u2", 63536, {"BitsStored": 12, "HighBit": 11}),
        ("i2", -32768, {"BitsStored": 12, "HighBit": 11}),
        ("u1", 255, {"BitsStored": 8, "HighBit": 7}),
    ],
)
def test_padding_counts_for_nothing(
    tmp_path: Path, kind: str, padding: int, changes: dict[str, int]
) -> None:
    low, high = (10, 200) if kind == "u1" else (1000, 1500)
    volume = picture(low, high)
    volume[PADDED] = padding
    row, stack, voxels = convert(tmp_path, volume, kind, {**changes, "value": padding})
    np.testing.assert_array_equal(voxels, volume)
    assert (row["intensity_low"], row["intensity_high"]) == (low, high)
    assert (row["padding_low"], row["padding_high"]) == (padding, padding)
    seen = stack.window(voxels)
    assert (seen[PADDED] == 0).all()
    expected = np.rint((volume[:, :, 5:] - low) * 255 / (high - low))
    np.testing.assert_allclose(seen[:, :, 5:], expected, atol=1)


def test_a_range_of_padding_in_either_order(tmp_path: Path) -> None:
    volume = picture()
    volume[:, :, 0:3], volume[:, :, 3:5] = 60000, 60007
    for number, ends in enumerate([(60000, 60010), (60010, 60000)]):
        changes = {**WIDE, "value": ends[0], "limit": ends[1]}
        row, stack, voxels = convert(tmp_path / str(number), volume, "u2", changes)
        assert (row["intensity_low"], row["intensity_high"]) == (1000, 1500)
        assert (row["padding_low"], row["padding_high"]) == (60000, 60010)
        assert (stack.window(voxels)[PADDED] == 0).all()


def test_padding_is_rescaled_and_turned_as_the_picture_is(tmp_path: Path) -> None:
    volume = picture()
    volume[PADDED] = 4095
    changes = {"value": 4095, "RescaleSlope": "-0.5", "RescaleIntercept": "10"}
    row, stack, voxels = convert(tmp_path / "a", volume, "u2", changes)
    assert (row["padding_low"], row["intensity_low"], row["intensity_high"]) == (
        10 - 2047.5,
        -740,
        -490,
    )
    assert (stack.window(voxels)[PADDED] == 0).all()

    changes |= {"PhotometricInterpretation": "MONOCHROME1"}
    row, stack, voxels = convert(tmp_path / "b", volume, "u2", changes)
    np.testing.assert_array_equal(voxels, (4095 - volume) * -0.5 + 10)
    # Turned it is 0, the greatest value once it is rescaled.
    assert (row["padding_high"], row["intensity_high"]) == (10, 10 - (4095 - 1500) / 2)
    assert (stack.window(voxels)[PADDED] == 0).all()


def test_turned_padding_beyond_the_stored_bits_is_background(tmp_path: Path) -> None:
    volume = picture()
    volume[PADDED] = 63536
    changes = {"value": 63536, "PhotometricInterpretation": "MONOCHROME1"}
    row, stack, voxels = convert(tmp_path, volume, "u2", changes)
    assert (row["intensity_low"], row["intensity_high"]) == (4095 - 1500, 4095 - 1000)
    assert (voxels[PADDED] == 0).all()
    assert (stack.window(voxels)[PADDED] == 0).all()


def test_implicit_padding_is_signed_as_the_pixels_are(tmp_path: Path) -> None:
    volume = picture()
    volume[PADDED] = -2000
    convert(tmp_path, volume, "i2", {**WIDE, "value": -2000})
    for path in (tmp_path / "in").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dataset.save_as(path)
    source = SeriesSource("1", "2", "train", "axial", "t2", tmp_path / "in")
    (row,) = convert_series(source, tmp_path / "out", ConvertSettings()).stacks
    assert (row["padding_low"], row["intensity_low"]) == (-2000, 1000)


@pytest.mark.parametrize("share", ["all", "none", "hardly"])
def test_what_leaves_nothing_or_is_nowhere_is_no_padding(tmp_path: Path, share: str) -> None:
    volume = picture()
    if share != "none":
        volume[:] = 7
    if share == "hardly":
        volume[0, 0, :2] = 500  # 2 of 2,400 voxels
    row, stack, voxels = convert(tmp_path, volume, "u2", {"value": 7})
    assert row["padding_low"] is None and row["padding_high"] is None
    assert stack.padding is None
    assert (row["intensity_low"], row["intensity_high"]) == intensity_window(voxels)


def test_slices_with_padding_of_their_own_share_one_value(tmp_path: Path) -> None:
    volume = picture()
    volume[PADDED] = np.array([0, 3000, 0, 3000])[:, None, None]
    # 3000 x 2 is a value of the picture, so that it is not chosen.
    volume[0, 0, 29] = 1500
    slices = [{"value": 0, "RescaleSlope": "4"}, {"value": 3000, "RescaleSlope": "2"}]
    row, _, voxels = convert(tmp_path, volume, "u2", *slices)
    assert (row["padding_low"], row["padding_high"]) == (0, 0)
    assert (voxels[PADDED] == 0).all()
    scale = np.array([4, 2, 4, 2])[:, None, None]
    np.testing.assert_array_equal(voxels[:, :, 5:], (volume * scale)[:, :, 5:])
    assert (row["intensity_low"], row["intensity_high"]) == (2000, 6000)


def test_a_crop_blends_background_with_the_picture_beside_it(tmp_path: Path) -> None:
    volume = picture()
    volume[PADDED] = 65535
    _, stack, voxels = convert(tmp_path, volume, "u2", {**WIDE, "value": 65535})
    shape = (1, 10, 24)
    shifts = {
        "between columns": (0.5, 0.0),
        "turned": (0.0, 0.3),
    }
    background = volume.copy()
    background[PADDED] = 1000
    for case, (shift, turn) in shifts.items():
        affine = stack.affine.copy()
        affine[:3, 3] += affine[:3, 0] * shift + affine[:3, 2]
        tilt = Rotation.from_euler("x", turn).as_matrix()
        affine[:3, :3] = tilt @ affine[:3, :3]
        found = read_crop(stack, voxels, affine, shape)
        plain = read_crop(stack, background.astype(np.uint16), affine, shape)
        np.testing.assert_array_equal(found, plain, err_msg=case)
        assert found[:, :, :4].max() == 0, case


def test_the_columns_may_be_absent_from_a_table(tmp_path: Path) -> None:
    row, _, _ = convert(tmp_path, picture(), "u2", {})
    table = pd.DataFrame([row]).drop(columns=["padding_low", "padding_high"])
    (stack,) = stacks_of_table(check_table(table, STACKS), tmp_path)
    assert stack.padding is None
    assert list(check_table(table, STACKS).columns) == list(STACKS.columns)


def test_windows_of_floats_leave_padding_out() -> None:
    array = np.array([-5.0, 0.0, 5.0, 10.0, 900.0], np.float32)
    assert window(array, 0.0, 10.0, (900.0, 900.0)).tolist() == [0, 0, 128, 255, 0]
    assert intensity_window(array[None, None], (900.0, 901.0))[1] < 10.0
