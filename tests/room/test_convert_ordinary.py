"""Series that departments and archives deliver as a matter of course: whole, and never mixed."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_helpers import AXIAL, SAGITTAL
from field_series import Found, Slice, convert, row_of, write
from odd_series import PLAIN, EnhancedFrame, Scan, axial_firsts, enhanced, item, sagittal_firsts
from pydicom.uid import RLELossless
from scanner_helpers import file_bytes
from spinegrade.convert.header import Frame, read_frames, read_headers
from spinegrade.convert.plan import plan_series
from spinegrade.convert.series import convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.source import SeriesSource
from spinegrade.convert.survey import survey_series

ORIGINAL = ["ORIGINAL", "PRIMARY", "M", "NORM"]


def even(count: int, first: float = 0.0, step: float = 4.0) -> list[float]:
    return [first + step * n for n in range(count)]


def apart(found: Found) -> list[tuple[int, tuple[int, ...]]]:
    """Length and sources of each volume."""
    return sorted(
        (length, tuple(sources))
        for length, sources in zip(found.lengths, found.sources, strict=True)
    )


def write_again(tmp_path: Path, slices: list[Slice]) -> None:
    """Add slices beside those that have their numbers."""
    write(tmp_path / "more", slices)
    for path in (tmp_path / "more").iterdir():
        path.rename(tmp_path / "in" / f"again_{path.name}")


@pytest.mark.parametrize("lossy", [range(8), range(0, 16, 2), (4, 9, 10), (15,)])
def test_slices_that_an_archive_compressed_stay_in_their_scan(
    tmp_path: Path, lossy: range | tuple[int, ...]
) -> None:
    slices = row_of(even(16), SAGITTAL)
    for place, one in enumerate(slices):
        one.tags = {"ImageType": ORIGINAL}
        if place in lossy:
            one.tags = {"ImageType": ["DERIVED", *ORIGINAL[1:]], "LossyImageCompression": "01"}
    write(tmp_path / "in", slices)
    found = convert(tmp_path)
    assert (found.lengths, found.codes) == ([16], [])
    # A derived picture that is not said to be compressed is another picture.
    for one in slices:
        one.tags = {"ImageType": one.tags["ImageType"]}
    write(tmp_path / "in", slices)
    assert convert(tmp_path).lengths != [16]


def test_compressed_copies_beside_their_originals_are_volumes_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "in", row_of(even(12), SAGITTAL, 0, ImageType=ORIGINAL))
    derived = {"ImageType": ["DERIVED", *ORIGINAL[1:]], "LossyImageCompression": "01"}
    write_again(tmp_path, row_of(even(12), SAGITTAL, 1, **derived)[2:8])
    assert apart(convert(tmp_path)) == [(6, (1,)), (12, (0,))]


def test_a_compressed_slice_never_takes_the_place_of_its_original(tmp_path: Path) -> None:
    write(tmp_path / "in", row_of(even(12), SAGITTAL, 0))
    write_again(tmp_path, row_of(even(12), SAGITTAL, 1, LossyImageCompression="01")[4:6])
    found = convert(tmp_path)
    assert apart(found) == [(12, (0,))]
    assert found.codes == [(f"again_{n}.dcm", "DUPLICATE_SLICE") for n in (5, 6)]


@pytest.mark.parametrize("shift", [1.3, 2.0, -6.0])
@pytest.mark.parametrize("tag", ["AcquisitionNumber", "AcquisitionTime", None])
def test_a_scan_repeated_between_its_slices_is_two_scans(
    tmp_path: Path, shift: float, tag: str | None
) -> None:
    # 4 mm slices by the header, and in each scan; together 1.3 or 2 mm apart.
    values = ("101500", "102200") if tag == "AcquisitionTime" else ("1", "2")
    tags = [{tag: value} if tag else {} for value in values]
    first = row_of(even(12), SAGITTAL, 0, **tags[0])
    second = row_of(even(12, shift), SAGITTAL, 1, range(13, 25), **tags[1])
    write(tmp_path / "in", [*first, *second])
    found = convert(tmp_path)
    assert apart(found) == [(12, (0,)), (12, (1,))]
    assert found.off_mm == 0


@pytest.mark.parametrize("shift", [-3.1, 2.0])
def test_scans_of_unequal_length_that_share_few_heights(tmp_path: Path, shift: float) -> None:
    first = row_of(even(6), SAGITTAL, 0, AcquisitionNumber=1)
    second = row_of(even(14, shift), SAGITTAL, 1, range(7, 21), AcquisitionNumber=2)
    write(tmp_path / "in", [*first, *second])
    assert apart(convert(tmp_path)) == [(6, (0,)), (14, (1,))]


@pytest.mark.parametrize("place", [1, 10, 11])
def test_a_slice_lost_near_the_end_belongs_to_its_repeat(tmp_path: Path, place: int) -> None:
    # Nothing but the numbers tells three repeats of 12 slices; one slice of the second is lost.
    slices = [
        one for n in range(3) for one in row_of(even(12), SAGITTAL, n, range(12 * n, 12 * n + 12))
    ]
    write(tmp_path / "in", [one for n, one in enumerate(slices) if n != 12 + place])
    found = convert(tmp_path)
    assert [part for part in apart(found) if part[0] == 12] == [(12, (0,)), (12, (2,))]
    assert all(len(sources) == 1 for sources in found.sources)


@pytest.mark.parametrize("lost", [None, 1, 7])
def test_passes_of_one_scan_are_as_wide_apart_as_its_header_says(
    tmp_path: Path, lost: int | None
) -> None:
    slices = row_of(even(16), SAGITTAL)
    for place, one in enumerate(slices):
        one.tags = {"AcquisitionNumber": 1 + place % 2}
        one.number = 1 + place // 2 + 8 * (place % 2)
    write(tmp_path / "in", [one for place, one in enumerate(slices) if place != lost])
    # A lone slice beside the hole is left out.
    expected = {None: [16], 1: [14], 7: [7, 8]}[lost]
    assert sorted(convert(tmp_path).lengths) == expected


@pytest.mark.parametrize(("count", "pitch"), [(5, 16.0), (5, 14.5), (4, 13.0), (3, 7.5)])
def test_blocks_that_touch_or_overlap_are_told_by_their_numbers(
    tmp_path: Path, count: int, pitch: float
) -> None:
    # By hand: 5 slices of 4 mm end at 16 mm, where with a pitch of 16 mm the next block begins.
    slices = []
    for block in range(4):
        numbers = range(1 + block * count, 1 + (block + 1) * count)
        slices += row_of(even(count, block * pitch), AXIAL, block, numbers)
    write(tmp_path / "in", slices)
    found = convert(tmp_path, "axial")
    assert apart(found) == [(count, (block,)) for block in range(4)]
    assert found.off_mm == 0


def test_a_saved_screen_beside_the_last_slice_is_no_volume(tmp_path: Path) -> None:
    screen = {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}
    scan = row_of(even(14), SAGITTAL, 0, ImageType=ORIGINAL)
    write(tmp_path / "in", [*scan, *row_of([56.0], SAGITTAL, 1, [99], **screen)])
    found = convert(tmp_path)
    assert apart(found) == [(14, (0,))]
    assert found.codes == [("99.dcm", "OTHER_SOURCE")]


def test_echoes_of_one_hundredth_s_difference_are_told_where_they_share_positions(
    tmp_path: Path,
) -> None:
    slices = []
    for echo in range(4):
        numbers = range(1 + echo, 25, 4)
        slices += row_of(even(6), SAGITTAL, echo, numbers, EchoTime=str(100 + echo))
    for one, number in zip(slices, np.random.default_rng(2).permutation(24) + 1, strict=True):
        one.number = int(number)
    write(tmp_path / "in", slices)
    assert apart(convert(tmp_path)) == [(6, (echo,)) for echo in range(4)]


@pytest.mark.parametrize("how", [{"BitsStored": 16, "HighBit": 15}, {"AcquisitionTime": "101010"}])
def test_copies_are_known_by_their_pixels_whatever_an_archive_rewrote(
    tmp_path: Path, how: dict[str, object]
) -> None:
    write(tmp_path / "in", row_of(even(12), SAGITTAL, 0))
    coded = how if "BitsStored" in how else {**how, "syntax": RLELossless}
    write_again(tmp_path, row_of(even(12), SAGITTAL, 0, **coded)[3:8])
    found = convert(tmp_path)
    assert found.lengths == [12]
    assert found.codes == [(f"again_{n}.dcm", "DUPLICATE_SLICE") for n in range(4, 9)]


def write_enhanced(folder: Path, scans: list[Scan], frames: list[EnhancedFrame]) -> None:
    folder.mkdir()
    data = enhanced(tuple(scans), frames, 2)
    (folder / "1.dcm").write_bytes(file_bytes(data, PLAIN))


def planned(folder: Path, plane: str) -> list[list[Frame]]:
    frames = read_frames(folder / "1.dcm", 64)
    return [stack.frames for stack in plan_series(frames, plane, ConvertSettings())[0]]


def test_dimension_indices_tell_frames_apart_where_one_is_missing(tmp_path: Path) -> None:
    scans = [Scan("first", sagittal_firsts(12)), Scan("second", sagittal_firsts(12))]
    frames = [EnhancedFrame(m, k) for k in range(12) for m in (0, 1) if (m, k) != (1, 5)]
    write_enhanced(tmp_path / "in", scans, frames)
    stacks = planned(tmp_path / "in", "sagittal")
    marks = [{frames[one.number].mark for one in stack} for stack in stacks]
    assert sorted(zip(map(len, stacks), map(tuple, marks), strict=True)) == [
        (5, (1,)),
        (6, (1,)),
        (12, (0,)),
    ]


def test_echo_times_of_enhanced_frames_may_be_written_with_noise(tmp_path: Path) -> None:
    # An archive that joins single slices writes each one's own echo time.
    scans = [Scan("first", sagittal_firsts(12)), Scan("second", sagittal_firsts(12))]
    frames = [
        EnhancedFrame(
            m, k, {"MREchoSequence": item(EffectiveEchoTime=(20.0, 90.0)[m] + 0.1 * (k % 3))}
        )
        for m in (0, 1)
        for k in range(12)
        if (m, k) != (1, 5)
    ]
    write_enhanced(tmp_path / "in", scans, frames)
    stacks = planned(tmp_path / "in", "sagittal")
    marks = [{frames[one.number].mark for one in stack} for stack in stacks]
    assert sorted(zip(map(len, stacks), map(tuple, marks), strict=True)) == [
        (5, (1,)),
        (6, (1,)),
        (12, (0,)),
    ]


def test_short_stacks_are_told_by_their_dimension_indices(tmp_path: Path) -> None:
    lows = (-60.0, -45.5, -31.0, -16.0)
    scans = [Scan(f"block {n}", axial_firsts(3, low), AXIAL) for n, low in enumerate(lows)]
    frames = [
        EnhancedFrame(m, k, {"FrameContentSequence": item(DimensionIndexValues=[m + 1, k + 1])})
        for m in range(4)
        for k in range(3)
    ]
    write_enhanced(tmp_path / "in", scans, frames)
    stacks = planned(tmp_path / "in", "axial")
    assert [{frames[one.number].mark for one in stack} for stack in stacks] == [{0}, {1}, {2}, {3}]


def test_the_survey_says_the_same_without_a_described_plane(tmp_path: Path) -> None:
    coronal = np.array([1.0, 0, 0, 0, 0, -1.0])
    write(tmp_path / "in", row_of(even(9), coronal))
    source = replace(
        SeriesSource("1", "2", "train", "sagittal", "t2", tmp_path / "in"),
        split="test",
        plane=None,  # type: ignore[arg-type]
    )
    settings = ConvertSettings()
    assert [row["slices"] for row in convert_series(source, tmp_path / "out", settings).stacks] == [
        9
    ]
    assert survey_series(source, settings).verdict["verdict"] == "good"


@pytest.mark.parametrize("tag", [0x00080008, 0x00209056, 0x0020000E])
def test_two_thousand_slices_of_a_thousand_sources_take_seconds(tmp_path: Path, tag: int) -> None:
    write(tmp_path / "in", row_of([0.0], AXIAL))
    frame = read_headers(tmp_path / "in" / "1.dcm", 64)[0]
    frames = [
        replace(
            frame,
            number=n,
            instance_number=n,
            position_mm=np.array([0.0, 0.0, 0.5 * n]),
            tags={tag: b"%d" % (n % 1000)},
        )
        for n in range(2000)
    ]
    start = time.process_time()
    stacks, _ = plan_series(frames, "axial", ConvertSettings())
    assert time.process_time() - start < 6
    assert all(len({frame.tags[tag] for frame in stack.frames}) == 1 for stack in stacks)
