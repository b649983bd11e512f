"""Series to volumes: order, geometry, stacks, refusals, on files written by hand."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_helpers import (
    AXIAL,
    SAGITTAL,
    tilted_axial,
    voxels,
    write_slice,
    write_stack,
)
from pydicom.uid import JPEG2000Lossless, RLELossless
from spinegrade.convert.series import Converted, convert_series, intensity_window
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.source import SeriesSource
from spinegrade.geometry.affine import affine_from_columns, to_mm, to_pixels
from spinegrade.volumes import open_volume


def convert(tmp_path: Path, plane: str = "axial", **settings: float) -> Converted:
    source = SeriesSource("1", "2", "train", plane, "t2", tmp_path / "in")
    return convert_series(source, tmp_path / "out", ConvertSettings(**settings))


def volumes(tmp_path: Path, result: Converted) -> list[np.ndarray]:
    return [np.array(open_volume(tmp_path / "out" / row["volume"])) for row in result.stacks]


def codes(result: Converted) -> list[tuple[str | None, str]]:
    return [(row["file"], row["code"]) for row in result.rejected]


def instances(result: Converted, stack: int = 0) -> list[int]:
    return [row["instance_number"] for row in result.slices if row["stack"] == stack]


def test_axial_slices_run_from_feet_to_head_whatever_their_numbers(tmp_path: Path) -> None:
    volume = voxels(6, 12, 10)
    numbering = write_stack(tmp_path / "in", volume, AXIAL, (-10.0, -20.0, 30.0), 4.0)
    result = convert(tmp_path)
    assert not result.rejected
    np.testing.assert_array_equal(volumes(tmp_path, result)[0], volume)
    assert [numbering[number] for number in instances(result)] == [0, 1, 2, 3, 4, 5]
    assert [row["file"] for row in result.slices] == [f"{n}.dcm" for n in instances(result)]
    affine = affine_from_columns(result.stacks[0])
    # By hand: 0.5 mm pixels, x to the left, y to the back, 4 mm towards the head.
    expected = [[0.5, 0, 0, -10], [0, 0.5, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(affine, expected, atol=1e-9)
    assert [row["position_mm"] for row in result.slices] == [30, 34, 38, 42, 46, 50]


def test_an_axial_normal_towards_the_feet_is_turned(tmp_path: Path) -> None:
    volume = voxels(5, 8, 8)
    # Rows run to the left, columns to the front: the normal points to the feet.
    flipped = np.array([1.0, 0, 0, 0, -1.0, 0])
    write_stack(tmp_path / "in", volume, flipped, (0, 0, 100), 3.0)
    result = convert(tmp_path)
    np.testing.assert_array_equal(volumes(tmp_path, result)[0], volume[::-1])
    affine = affine_from_columns(result.stacks[0])
    np.testing.assert_allclose(to_mm(affine, [[0, 0, 0], [0, 0, 4]]), [[0, 0, 88], [0, 0, 100]])


@pytest.mark.parametrize("row_direction", [1.0, -1.0])
def test_sagittal_slices_run_from_right_to_left(tmp_path: Path, row_direction: float) -> None:
    volume = voxels(5, 8, 9)
    orientation = SAGITTAL * [1, row_direction, 1, 1, 1, 1]
    towards_left = np.cross(orientation[:3], orientation[3:])[0] > 0
    write_stack(tmp_path / "in", volume, orientation, (10, 0, 0), 4.0)
    result = convert(tmp_path, "sagittal")
    expected = volume if towards_left else volume[::-1]
    np.testing.assert_array_equal(volumes(tmp_path, result)[0], expected)
    affine = affine_from_columns(result.stacks[0])
    x = to_mm(affine, [[0, 0, index] for index in range(5)])[:, 0]
    assert (np.diff(x) > 0).all()


def test_oblique_stacks_in_one_series_become_one_volume_each(tmp_path: Path) -> None:
    stacks = [(0.0, 100.0), (-0.4, 80.0), (8.0, 60.0), (20.0, 40.0)]
    written = []
    for place, (degrees, z) in enumerate(stacks):
        volume = voxels(4, 10, 12, seed=place)
        written.append(volume)
        write_stack(
            tmp_path / "in",
            volume,
            tilted_axial(degrees),
            (0, 0, z),
            3.5,
            start=1 + 10 * place,
        )
    result = convert(tmp_path)
    assert not result.rejected
    assert [row["stack"] for row in result.stacks] == [0, 1, 2, 3]
    # From feet to head: the last stack written lies lowest.
    for found, expected in zip(volumes(tmp_path, result), written[::-1], strict=True):
        np.testing.assert_array_equal(found, expected)
    for row, (degrees, z) in zip(result.stacks, stacks[::-1], strict=True):
        assert row["slice_spacing_mm"] == pytest.approx(3.5, abs=1e-6)
        angle = np.radians(degrees)
        normal = np.array([0, -np.sin(angle), np.cos(angle)])
        affine = affine_from_columns(row)
        corner = to_mm(affine, [[11, 9, 3]])[0]
        by_hand = np.array([5.5, 4.5 * np.cos(angle), z + 4.5 * np.sin(angle)]) + 10.5 * normal
        np.testing.assert_allclose(corner, by_hand, atol=1e-6)


def test_pixel_to_mm_and_back_and_every_reader_agree(tmp_path: Path) -> None:
    volume = voxels(5, 14, 11)
    orientation = np.array([0.0341, 0.9994, 0.0052, -0.0225, 0.0060, -0.9997])
    row = orientation[:3] / np.linalg.norm(orientation[:3])
    column = orientation[3:] - (orientation[3:] @ row) * row
    orientation = np.concatenate([row, column / np.linalg.norm(column)])
    write_stack(
        tmp_path / "in", volume, orientation, (-32.5, -112.8, -370.2), 4.48, spacing=(0.7, 0.4)
    )
    result = convert(tmp_path, "sagittal")
    affine = affine_from_columns(result.stacks[0])
    assert result.stacks[0]["row_spacing_mm"] == pytest.approx(0.7)
    assert result.stacks[0]["col_spacing_mm"] == pytest.approx(0.4)
    corners = np.array([[x, y, z] for x in (0, 10) for y in (0, 13) for z in (0, 4)], float)
    np.testing.assert_allclose(to_pixels(affine, to_mm(affine, corners)), corners, atol=1e-6)
    volume = volume[::-1]  # written from left to right, stored from right to left
    path = tmp_path / "out" / result.stacks[0]["volume"]
    image = nibabel.load(path)
    for ras in (image.get_sform(), image.get_qform()):
        mm = to_mm(ras, corners) * [-1, -1, 1]
        np.testing.assert_allclose(mm, to_mm(affine, corners), atol=1e-4)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, volume)
    itk = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(itk), volume)
    for corner in corners:
        point = itk.TransformContinuousIndexToPhysicalPoint(corner.tolist())
        np.testing.assert_allclose(point, to_mm(affine, [corner])[0], atol=1e-4)
    # And with the DICOM file itself: its first pixel lies at its ImagePositionPatient.
    for row in result.slices:
        header = pydicom.dcmread(tmp_path / "in" / row["file"], stop_before_pixels=True)
        at = to_mm(affine, [[0, 0, row["index"]]])[0]
        np.testing.assert_allclose(at, np.array(header.ImagePositionPatient, float), atol=1e-6)


@pytest.mark.parametrize("syntax", [RLELossless])
def test_compressed_slices_hold_the_same_voxels(tmp_path: Path, syntax: str) -> None:
    volume = voxels(4, 33, 17)
    write_stack(tmp_path / "in", volume, AXIAL, syntax=syntax)
    result = convert(tmp_path)
    assert not result.rejected
    np.testing.assert_array_equal(volumes(tmp_path, result)[0], volume)


def test_two_image_sizes_become_two_volumes(tmp_path: Path) -> None:
    small, large = voxels(3, 10, 10), voxels(4, 12, 16)
    write_stack(tmp_path / "in", small, AXIAL, (0, 0, 0))
    write_stack(tmp_path / "in", large, AXIAL, (0, 0, 50), start=20)
    result = convert(tmp_path)
    assert [row["rows"] for row in result.stacks] == [10, 12]
    np.testing.assert_array_equal(volumes(tmp_path, result)[1], large)


def test_a_missing_slice_cuts_the_series_in_two_true_volumes(tmp_path: Path) -> None:
    volume = voxels(9, 8, 8)
    heights = [0.0, 4, 8, 12, 20, 24, 28, 32, 36]
    numbering = write_stack(tmp_path / "in", volume, AXIAL, heights=heights)
    result = convert(tmp_path)
    assert [row["slices"] for row in result.stacks] == [4, 5]
    assert [row["slice_spacing_mm"] for row in result.stacks] == pytest.approx([4.0, 4.0])
    upper = {place: number for number, place in numbering.items()}[4]
    assert codes(result) == [(f"{upper}.dcm", "GAP")]
    assert "8.000 mm" in result.rejected[0]["found"]
    assert "4.000 mm" in result.rejected[0]["found"]


def test_slices_left_beside_a_gap_are_left_out_when_they_are_few(tmp_path: Path) -> None:
    heights = [0.0, 8, 12, 16, 20, 24]
    numbering = write_stack(tmp_path / "in", voxels(6, 8, 8), AXIAL, heights=heights)
    result = convert(tmp_path)
    assert [row["slices"] for row in result.stacks] == [5]
    lone = {place: number for number, place in numbering.items()}[0]
    assert (f"{lone}.dcm", "GAP") in codes(result)
    assert lone not in instances(result)


def test_uneven_slices_are_refused(tmp_path: Path) -> None:
    heights = [0.0, 3.0, 7.0, 12.5, 14.0]
    write_stack(tmp_path / "in", voxels(5, 8, 8), AXIAL, heights=heights)
    result = convert(tmp_path)
    assert not result.stacks
    # No slice is missing: no whole number of steps fits anywhere.
    assert {code for _, code in codes(result)} == {"UNEVEN_STEPS"}


def test_parallel_blocks_of_other_spacing_are_volumes_of_their_own(tmp_path: Path) -> None:
    heights = [0.0, 3, 6, 9, 60, 64, 68]
    write_stack(tmp_path / "in", voxels(7, 8, 8), AXIAL, heights=heights)
    result = convert(tmp_path)
    assert not result.rejected  # 51 mm apart is another block, not a gap
    assert [row["slices"] for row in result.stacks] == [4, 3]
    assert [row["slice_spacing_mm"] for row in result.stacks] == pytest.approx([3.0, 4.0])


def test_a_copied_slice_is_dropped_by_name(tmp_path: Path) -> None:
    volume = voxels(5, 8, 8)
    write_stack(tmp_path / "in", volume, AXIAL, shuffle=None)
    copy = (tmp_path / "in" / "3.dcm").read_bytes()
    (tmp_path / "in" / "copy.dcm").write_bytes(copy)
    result = convert(tmp_path)
    assert codes(result) == [("copy.dcm", "DUPLICATE_SLICE")]
    np.testing.assert_array_equal(volumes(tmp_path, result)[0], volume)


def test_two_echoes_at_every_position_become_two_volumes(tmp_path: Path) -> None:
    first, second = voxels(4, 8, 8, 1), voxels(4, 8, 8, 2)
    write_stack(tmp_path / "in", first, AXIAL, EchoTime="12.5")
    write_stack(tmp_path / "in", second, AXIAL, start=50, EchoTime="90")
    result = convert(tmp_path)
    assert not result.rejected
    np.testing.assert_array_equal(volumes(tmp_path, result), [first, second])


def test_time_points_told_apart_by_their_numbers_alone(tmp_path: Path) -> None:
    first, second = voxels(4, 8, 8, 1), voxels(4, 8, 8, 2)
    write_stack(tmp_path / "in", first, AXIAL)
    write_stack(tmp_path / "in", second, AXIAL, start=50)
    result = convert(tmp_path)
    assert not result.rejected
    np.testing.assert_array_equal(volumes(tmp_path, result), [first, second])


def test_volumes_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    write_stack(tmp_path / "in", voxels(4, 8, 8, 1), AXIAL)
    write_stack(tmp_path / "more", voxels(4, 8, 8, 2), AXIAL)
    for path in (tmp_path / "more").iterdir():
        path.rename(tmp_path / "in" / f"again_{path.name}")
    result = convert(tmp_path)
    assert not result.stacks
    assert {code for _, code in codes(result)} == {"AMBIGUOUS_VOLUMES"}
    assert len(result.rejected) == 8


def test_a_film_of_one_slice_is_no_volume(tmp_path: Path) -> None:
    write_stack(tmp_path / "in", voxels(4, 8, 8, 1), AXIAL, heights=[0.0] * 4)
    result = convert(tmp_path)
    assert not result.stacks
    assert {code for _, code in codes(result)} == {"NOT_A_VOLUME"}


def test_a_rescan_of_one_slice_leaves_the_first(tmp_path: Path) -> None:
    volume = voxels(4, 8, 8)
    write_stack(tmp_path / "in", volume, AXIAL, shuffle=None)
    write_slice(tmp_path / "in" / "9.dcm", volume[0] // 2, AXIAL, np.array([0, 0, 8.0]), 9)
    result = convert(tmp_path)
    assert codes(result) == [("9.dcm", "DUPLICATE_SLICE")]
    np.testing.assert_array_equal(volumes(tmp_path, result)[0], volume)


def test_slices_of_another_plane_are_left_out(tmp_path: Path) -> None:
    volume = voxels(5, 8, 8)
    write_stack(tmp_path / "in", volume, SAGITTAL)
    write_stack(tmp_path / "in", voxels(1, 8, 8), AXIAL, start=40)
    result = convert(tmp_path, "sagittal")
    assert codes(result) == [("40.dcm", "MIXED_ORIENTATION")]
    np.testing.assert_array_equal(volumes(tmp_path, result)[0], volume[::-1])


def test_slices_shifted_off_their_normal_are_refused(tmp_path: Path) -> None:
    for place, plane in enumerate(voxels(5, 8, 8)):
        position = np.array([0, 1.5 * place, 4.0 * place])
        write_slice(tmp_path / "in" / f"{place}.dcm", plane, AXIAL, position, place)
    result = convert(tmp_path)
    assert not result.stacks
    assert {code for _, code in codes(result)} == {"GANTRY_TILT"}


def test_a_broken_file_costs_its_slice_only(tmp_path: Path) -> None:
    volume = voxels(8, 16, 16)
    folder = tmp_path / "in"
    write_stack(folder, volume, AXIAL, shuffle=None, syntax=RLELossless)
    whole = (folder / "8.dcm").read_bytes()
    (folder / "8.dcm").write_bytes(whole[:-150])
    (folder / "notes.txt").write_text("not an image")
    (folder / "empty.dcm").write_bytes(b"")
    write_slice(folder / "20.dcm", volume[0], AXIAL, np.zeros(3), 20, PixelData=None)
    write_slice(folder / "21.dcm", volume[0], AXIAL, np.zeros(3), 21, ImagePositionPatient=None)
    write_slice(
        folder / "22.dcm", volume[0], AXIAL, np.zeros(3), 22, ImageOrientationPatient=[1] * 6
    )
    write_slice(folder / "23.dcm", volume[0], AXIAL, np.zeros(3), 23, Rows=64)
    write_slice(folder / "24.dcm", volume[0], AXIAL, np.zeros(3), 24, Rows=60000, Columns=60000)
    write_slice(
        folder / "25.dcm",
        volume[0],
        AXIAL,
        np.array([0, 0, 60.0]),
        25,
        syntax="1.2.840.10008.1.2.4.100",
    )
    write_slice(
        folder / "26.dcm", volume[0], AXIAL, np.array([0, 0, 60.0]), 26, syntax=JPEG2000Lossless
    )
    result = convert(tmp_path)
    found = dict(codes(result))
    assert found.pop("8.dcm") in ("TRUNCATED", "DECODE_FAILED")
    assert found == {
        "notes.txt": "NOT_AN_IMAGE",
        "empty.dcm": "TRUNCATED",
        "20.dcm": "NO_PIXELS",
        "21.dcm": "NO_GEOMETRY",
        "22.dcm": "BAD_HEADER",
        "23.dcm": "TRUNCATED",
        "24.dcm": "TOO_LARGE",
        "25.dcm": "UNSUPPORTED_SYNTAX",
        "26.dcm": "DECODE_FAILED",
    }
    np.testing.assert_array_equal(volumes(tmp_path, result)[0], volume[:7])


def test_a_colour_slice_is_refused(tmp_path: Path) -> None:
    write_stack(tmp_path / "in", voxels(4, 8, 8), AXIAL, PhotometricInterpretation="RGB")
    assert {code for _, code in codes(convert(tmp_path))} == {"COLOUR"}


def test_an_empty_series_and_a_short_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert codes(convert(tmp_path)) == [(None, "NO_FILES")]
    write_stack(tmp_path / "in", voxels(2, 8, 8), AXIAL)
    assert codes(convert(tmp_path)) == [(None, "TOO_FEW_SLICES")]
    assert len(convert(tmp_path, min_slices=2).stacks) == 1


def test_signs_bits_inversion_and_rescaling(tmp_path: Path) -> None:
    signed = (voxels(4, 8, 8).astype(np.int32) - 2048).astype(np.int16)
    write_stack(tmp_path / "in", signed, AXIAL)
    np.testing.assert_array_equal(volumes(tmp_path, convert(tmp_path))[0], signed)
    # 12 of 16 bits: an overlay bit above them is no part of the value; a sign is extended.
    plain = voxels(4, 8, 8)
    write_stack(tmp_path / "in", plain | np.uint16(0x8000), AXIAL)
    np.testing.assert_array_equal(volumes(tmp_path, convert(tmp_path))[0], plain)
    write_stack(tmp_path / "in", signed & np.int16(0xFFF), AXIAL, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(volumes(tmp_path, convert(tmp_path))[0], signed)
    write_stack(tmp_path / "in", plain, AXIAL, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(volumes(tmp_path, convert(tmp_path))[0], 4095 - plain)
    write_stack(tmp_path / "in", plain, AXIAL, RescaleSlope="1", RescaleIntercept="-1024")
    found = volumes(tmp_path, convert(tmp_path))[0]
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, plain.astype(int) - 1024)
    write_stack(tmp_path / "in", plain, AXIAL, RescaleSlope="0.25", RescaleIntercept="3")
    found = volumes(tmp_path, convert(tmp_path))[0]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, plain * 0.25 + 3)


def test_eight_bit_slices(tmp_path: Path) -> None:
    volume = (voxels(4, 8, 8) // 16).astype(np.uint8)
    write_stack(tmp_path / "in", volume, AXIAL)
    np.testing.assert_array_equal(volumes(tmp_path, convert(tmp_path))[0], volume)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_the_intensity_window_is_the_percentiles(dtype: type) -> None:
    # 0 .. 999 once each, shifted: 0.5 % lie at or below the fifth value, 99.5 % at the 995th.
    volume = (np.arange(1000).reshape(1, 25, 40) - (500 if dtype == np.int16 else 0)).astype(dtype)
    low, high = intensity_window(volume)
    base = float(volume.min())
    assert low - base == pytest.approx(4.5, abs=0.6)
    assert high - base == pytest.approx(994.5, abs=0.6)
