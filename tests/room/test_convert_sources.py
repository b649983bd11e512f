"""Slices of two sources never share a volume, whatever their names, numbers and holes."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from dicom_helpers import AXIAL, SAGITTAL
from field_series import SIZE, Slice, convert, row_of, write
from pydicom.uid import RLELossless

ORIGINAL = ["ORIGINAL", "PRIMARY", "M", "ND"]
SCREEN = ["DERIVED", "SECONDARY", "SCREEN SAVE"]


def even(count: int, first: float = 0.0, step: float = 4.0) -> list[float]:
    return [first + step * n for n in range(count)]


def shuffled(slices: list[Slice]) -> list[Slice]:
    """The same slices under mixed numbers, so that numbers and names say nothing."""
    numbers = [one.number for one in slices]
    random.Random(5).shuffle(numbers)
    for one, number in zip(slices, numbers, strict=True):
        one.number = number
    return slices


def without(slices: list[Slice], *places: int) -> list[Slice]:
    return [one for place, one in enumerate(slices) if place not in places]


@pytest.mark.parametrize("mixed", [False, True])
def test_a_scan_repeated_with_more_slices_is_a_volume_of_its_own(
    tmp_path: Path, mixed: bool
) -> None:
    first = row_of(even(15), SAGITTAL, 0, AcquisitionNumber=1, AcquisitionTime="101500")
    second = row_of(
        even(19, -8), SAGITTAL, 1, range(16, 35), AcquisitionNumber=2, AcquisitionTime="102200"
    )
    slices = [*first, *second]
    write(tmp_path / "in", shuffled(slices) if mixed else slices)
    found = convert(tmp_path)
    assert sorted(zip(found.lengths, map(tuple, found.sources), strict=True)) == [
        (15, (0,)),
        (19, (1,)),
    ]
    assert found.off_mm == 0
    assert found.codes == [(None, "SEVERAL_SOURCES")]


def test_a_longer_scan_without_any_tag_is_told_by_its_numbers(tmp_path: Path) -> None:
    slices = row_of(even(15), SAGITTAL, 0) + row_of(even(19, -8), SAGITTAL, 1, range(16, 35))
    write(tmp_path / "in", slices)
    found = convert(tmp_path)
    assert sorted(found.lengths) == [15, 19]
    assert all(len(sources) == 1 for sources in found.sources)


def test_three_phases_of_unequal_length(tmp_path: Path) -> None:
    slices = [
        *row_of(even(8), AXIAL, 0, range(1, 9), AcquisitionNumber=1),
        *row_of(even(10), AXIAL, 1, range(9, 19), AcquisitionNumber=2),
        *row_of(even(6, 8), AXIAL, 2, range(19, 25), AcquisitionNumber=3),
    ]
    write(tmp_path / "in", shuffled(slices))
    found = convert(tmp_path, "axial")
    assert sorted(found.lengths) == [6, 8, 10]
    assert all(len(sources) == 1 for sources in found.sources)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"EchoTime": "12.5"}, {"EchoTime": "90"}),
        ({"EchoNumbers": "1"}, {"EchoNumbers": "2"}),
        ({"ImageType": ORIGINAL}, {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}),
        ({"ImageType": [*ORIGINAL, "IN_PHASE"]}, {"ImageType": [*ORIGINAL, "OUT_PHASE"]}),
        ({"TemporalPositionIdentifier": "1"}, {"TemporalPositionIdentifier": "2"}),
        ({"InversionTime": "150"}, {"InversionTime": "2500"}),
        ({}, {"ContrastBolusAgent": "given"}),
        ({"AcquisitionNumber": "1"}, {"AcquisitionNumber": "2"}),
    ],
)
def test_the_volume_that_lost_a_file_is_cut_and_the_other_whole(
    tmp_path: Path, one: dict[str, object], other: dict[str, object]
) -> None:
    first = row_of(even(12), SAGITTAL, 0, range(1, 24, 2), **one)
    second = row_of(even(12), SAGITTAL, 1, range(2, 25, 2), **other)
    write(tmp_path / "in", shuffled([*first, *without(second, 5)]))
    found = convert(tmp_path)
    assert sorted(zip(found.lengths, map(tuple, found.sources), strict=True)) == [
        (5, (1,)),
        (6, (1,)),
        (12, (0,)),
    ]
    assert {code for _, code in found.codes} == {"GAP", "SEVERAL_SOURCES"}


def test_numbers_position_by_position_with_one_lost(tmp_path: Path) -> None:
    first = row_of(even(12), SAGITTAL, 0, range(1, 24, 2))
    second = row_of(even(12), SAGITTAL, 1, range(2, 25, 2))
    write(tmp_path / "in", [*first, *without(second, 5)])
    found = convert(tmp_path)
    assert sorted(found.lengths) == [5, 6, 12]
    assert all(len(sources) == 1 for sources in found.sources)


@pytest.mark.parametrize("number", [0, 99])
@pytest.mark.parametrize("lost", [False, True])
def test_a_saved_screen_takes_no_slice_s_place(tmp_path: Path, number: int, lost: bool) -> None:
    scan = row_of(even(15), SAGITTAL, 0, ImageType=ORIGINAL)
    screen = row_of([28.0], SAGITTAL, 1, [number], ImageType=SCREEN)
    write(tmp_path / "in", [*(without(scan, 7) if lost else scan), *screen])
    found = convert(tmp_path)
    assert found.lengths == ([7, 7] if lost else [15])
    assert found.sources == [{0}] * len(found.lengths)
    assert (f"{number}.dcm", "OTHER_SOURCE") in found.codes
    assert ("GAP" in {code for _, code in found.codes}) == lost


def test_another_acquisition_does_not_fill_a_hole(tmp_path: Path) -> None:
    scan = without(row_of(even(15), SAGITTAL, 0, AcquisitionNumber=1), 7)
    again = row_of([28.0], SAGITTAL, 1, [40], AcquisitionNumber=2)
    write(tmp_path / "in", [*scan, *again])
    found = convert(tmp_path)
    assert found.lengths == [7, 7]
    assert found.sources == [{0}, {0}]
    assert ("40.dcm", "OTHER_SOURCE") in found.codes


@pytest.mark.parametrize("passes", [2, 3])
def test_interleaved_passes_and_table_positions_are_one_scan(tmp_path: Path, passes: int) -> None:
    for place, one in enumerate(slices := row_of(even(15), SAGITTAL)):
        one.tags = {"AcquisitionNumber": 1 + place % passes}
    write(tmp_path / "in", slices)
    assert convert(tmp_path).lengths == [15]
    for place, one in enumerate(slices):
        one.tags = {"AcquisitionNumber": 1 + place // 4}
    write(tmp_path / "in", slices)
    found = convert(tmp_path)
    assert (found.lengths, found.codes) == ([15], [])


def test_blocks_that_overlap_are_told_by_their_own_lines(tmp_path: Path) -> None:
    # By hand: 0, 4 .. 20 and 18, 22 .. 38 mm; in order of position 16, 18, 20, 22 lie between.
    slices = row_of(even(6), AXIAL, 0) + row_of(even(6, 18), AXIAL, 1, range(7, 13))
    write(tmp_path / "in", slices)
    found = convert(tmp_path, "axial")
    assert found.lengths == [6, 6]
    assert found.sources == [{0}, {1}]
    assert found.off_mm == 0


def test_blocks_shifted_sideways_are_told_without_numbers(tmp_path: Path) -> None:
    aside = (-14.0, -10.0, 12.0)
    slices = row_of(even(6), AXIAL, 0) + row_of(even(6, 16), AXIAL, 1, range(7, 13), aside)
    write(tmp_path / "in", shuffled(slices))
    found = convert(tmp_path, "axial")
    assert found.lengths == [6, 6]
    assert found.sources == [{0}, {1}]


def test_two_series_in_one_folder_in_turns(tmp_path: Path) -> None:
    uids = {"SeriesInstanceUID": "1.2.3.4"}, {"SeriesInstanceUID": "1.2.3.5"}
    slices = [
        *row_of(even(8, 0, 8), SAGITTAL, 0, range(1, 17, 2), **uids[0]),
        *row_of(even(8, 4, 8), SAGITTAL, 1, range(2, 18, 2), **uids[1]),
    ]
    write(tmp_path / "in", slices)
    found = convert(tmp_path)
    assert found.lengths == [8, 8]
    assert sorted(map(tuple, found.sources)) == [(0,), (1,)]
    assert (None, "OTHER_SERIES") in found.codes


def test_a_series_uid_for_every_file_tells_nothing(tmp_path: Path) -> None:
    slices = row_of(even(9), SAGITTAL)
    for one in slices:
        one.tags = {"SeriesInstanceUID": f"1.2.3.{one.number}"}
    write(tmp_path / "in", slices)
    found = convert(tmp_path)
    assert (found.lengths, found.codes) == ([9], [])


def test_echo_times_written_with_noise_are_one_echo(tmp_path: Path) -> None:
    slices = row_of(even(12), SAGITTAL)
    for place, one in enumerate(slices):
        one.tags = {"EchoTime": "92.0" if place % 3 else "92.4"}
    write(tmp_path / "in", slices)
    assert convert(tmp_path).lengths == [12]


def test_images_that_nothing_tells_apart_leave_holes_not_mixtures(tmp_path: Path) -> None:
    scan = row_of(even(12), SAGITTAL, 0)
    again = row_of([20.0], SAGITTAL, 1, [6])
    write(tmp_path / "in", scan)
    write(tmp_path / "more", again)
    (tmp_path / "more" / "6.dcm").rename(tmp_path / "in" / "again.dcm")
    found = convert(tmp_path)
    assert sorted(found.lengths) == [5, 6]
    assert found.sources == [{0}, {0}]
    assert {("6.dcm", "AMBIGUOUS_VOLUMES"), ("again.dcm", "AMBIGUOUS_VOLUMES")} <= set(found.codes)


def test_one_slice_in_two_codings_is_a_copy(tmp_path: Path) -> None:
    scan = row_of(even(6), SAGITTAL, 0, EchoTime="90 ")
    write(tmp_path / "in", scan)
    for one in scan:
        one.tags = {"EchoTime": "90", "syntax": RLELossless}
    write(tmp_path / "more", scan)
    for path in (tmp_path / "more").iterdir():
        path.rename(tmp_path / "in" / f"{path.stem}_again.dcm")
    found = convert(tmp_path)
    assert found.lengths == [6]
    assert found.codes == [(f"{n}_again.dcm", "DUPLICATE_SLICE") for n in range(1, 7)]
    kept = {row["file"]: row["index"] for row in found.result.slices}
    assert {row["file"]: row["index"] for row in found.result.copies} == {
        f"{n}_again.dcm": kept[f"{n}.dcm"] for n in range(1, 7)
    }
    # A recoded slice of other pixels is no copy, though all its tags are the same.
    other = row_of([4.0], SAGITTAL, 1, [2], syntax=RLELossless)
    write(tmp_path / "more", other)
    (tmp_path / "more" / "2.dcm").rename(tmp_path / "in" / "2_again.dcm")
    assert ("2_again.dcm", "DUPLICATE_SLICE") not in convert(tmp_path).codes


def turn(slices: list[Slice], places: Iterable[int], degrees: float, centre: bool) -> None:
    """Turn slices about the patient's long axis, at their first pixel or their centre."""
    for place in places:
        one, angle = slices[place], np.radians(degrees)
        axes = np.array([np.sin(angle), np.cos(angle), 0, 0, 0, -1.0])
        if centre:
            one.position = one.position + (SIZE - 1) / 2 * one.spacing * (one.axes[:3] - axes[:3])
        one.axes = axes


@pytest.mark.parametrize("turned", [range(1, 15, 2), (1, 3, 6, 7, 8, 9, 14), range(3, 15)])
@pytest.mark.parametrize("centre", [False, True])
def test_slices_turned_by_a_tenth_of_a_degree_are_one_volume(
    tmp_path: Path, turned: Iterable[int], centre: bool
) -> None:
    slices = row_of(even(15), SAGITTAL, spacing=2.0)
    turn(slices, turned, 0.1, centre)
    write(tmp_path / "in", slices)
    found = convert(tmp_path)
    assert found.lengths == [15]
    # Its mean axes are a little off right angles to the line of its slices.
    assert found.codes == [(None, "TURNED_A_LITTLE"), (None, "SHEARED")]
    # 0.1 degrees at 78 mm are 0.14 mm, a seventh of half a pixel.
    assert found.off_mm < 0.14


def test_slices_turned_too_far_are_refused_with_the_angle_and_the_key(tmp_path: Path) -> None:
    # The mean lies half of the angle from each. 0.6 degrees at 28 px from the centre are 0.29 px.
    slices = row_of(even(14), SAGITTAL)
    turn(slices, range(1, 14, 2), 1.2, centre=True)
    write(tmp_path / "in", slices)
    found = convert(tmp_path)
    assert found.lengths == [14]
    # 1.5 degrees there are 0.73 px, more than half.
    slices = row_of(even(14), SAGITTAL)
    turn(slices, range(1, 14, 2), 3.0, centre=True)
    write(tmp_path / "in", slices)
    found = convert(tmp_path)
    assert not found.lengths
    assert {code for _, code in found.codes} == {"TURNED_SLICES"}
    text = found.result.rejected[0]["found"]
    assert "1.50 degrees" in text and "convert.orientation_tolerance_degrees is 0.05" in text


def test_blocks_of_slightly_other_tilt_stay_blocks(tmp_path: Path) -> None:
    angle = np.radians(0.4)
    tilted = np.array([1.0, 0, 0, 0, np.cos(angle), np.sin(angle)])
    slices = row_of(even(5), AXIAL, 0) + row_of(even(5, 36), tilted, 1, range(6, 11))
    write(tmp_path / "in", slices)
    found = convert(tmp_path, "axial")
    assert (found.lengths, found.sources, found.codes) == ([5, 5], [{0}, {1}], [])


@pytest.mark.parametrize(
    ("step", "decimals", "degrees"), [(3.85, 1, 0), (3.85, 1, 12), (3.3, 0, 0), (4.4, 0, 9)]
)
def test_rounded_positions_are_one_volume_with_a_note(
    tmp_path: Path, step: float, decimals: int, degrees: float
) -> None:
    angle = np.radians(degrees)
    axes = np.array([np.sin(angle), np.cos(angle), 0, 0, 0, -1.0])
    write(tmp_path / "in", row_of(even(15, 0, step), axes), written=decimals)
    found = convert(tmp_path)
    assert found.lengths == [15]
    assert found.codes[0] == (None, "UNEVEN_A_LITTLE")
    # Rounded across the line too, it leans: only that may be told beside.
    assert found.codes[1:] in ([], [(None, "SHEARED")])
    written = f"written in steps of {10.0**-decimals:g} mm"
    assert written in found.result.rejected[0]["found"]
    assert found.off_mm < 1.05 * 10**-decimals
    # One slice lost: two volumes and a gap, at the right place.
    (tmp_path / "in" / "7.dcm").unlink()
    found = convert(tmp_path)
    assert sorted(found.lengths) == [6, 8]
    assert "GAP" in {code for _, code in found.codes}
