"""Headers read alone, files of several studies, and the memory that a series may ask for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_helpers import AXIAL, voxels, write_slice, write_stack
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless
from spinegrade.convert.header import Frame, read_frames, read_headers
from spinegrade.convert.pixel_format import PixelsNotRead
from spinegrade.convert.pixels import decode_volume
from spinegrade.convert.refusals import Refused
from spinegrade.convert.series import Converted, convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.source import SeriesSource, own_study, stray_series


def one_slice(tmp_path: Path, **changes: object) -> Path:
    return write_slice(tmp_path / "1.dcm", voxels(1, 300, 200)[0], AXIAL, np.ones(3), 1, **changes)


def code_of(path: Path, read: object) -> str:
    with pytest.raises(Refused) as caught:
        read(path, 64.0)
    return caught.value.code


def plain(frame: Frame) -> tuple[object, ...]:
    geometry = (*frame.orientation, *frame.position_mm, *frame.spacing_mm)
    pixels = (frame.pixels.rows, frame.pixels.cols, frame.pixels.data_bytes)
    return (frame.file, frame.instance_number, *pixels, *geometry)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", RLELossless])
def test_a_header_is_read_without_the_pixels(tmp_path: Path, syntax: str) -> None:
    path = one_slice(tmp_path, syntax=syntax)
    (whole,), (header,) = read_frames(path, 64.0), read_headers(path, 64.0)
    assert plain(header) == plain(whole)
    with pytest.raises(PixelsNotRead):
        decode_volume([header])
    # What lies beyond the first bytes is never looked at: it may as well be a hole.
    data = path.read_bytes()
    path.write_bytes(data[:16384])
    with path.open("r+b") as file:
        file.truncate(len(data))
    assert plain(read_headers(path, 64.0)[0]) == plain(whole)


def test_a_long_header_is_read_whole(tmp_path: Path) -> None:
    path = one_slice(
        tmp_path,
        ImageComments="long " * 2000,
        PatientComments="long " * 2000,
        AdditionalPatientHistory="long " * 2000,
    )
    assert path.read_bytes().index(b"\xe0\x7f\x10\x00") > 25000
    assert plain(read_headers(path, 64.0)[0]) == plain(read_frames(path, 64.0)[0])


def test_a_deflated_file_is_inflated_to_be_judged(tmp_path: Path) -> None:
    path = one_slice(tmp_path)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    pydicom.dcmwrite(path, dataset)
    (header,) = read_headers(path, 64.0)
    assert header.pixels.data_bytes == 300 * 200 * 2


def test_missing_pixels_are_seen_in_the_header(tmp_path: Path) -> None:
    path = one_slice(tmp_path)
    whole = path.read_bytes()
    for length in (len(whole) - 1, 20000):
        path.write_bytes(whole[:length])
        assert code_of(path, read_headers) == code_of(path, read_frames) == "TRUNCATED"
    path.write_bytes(whole[:400])
    assert code_of(path, read_headers) == code_of(path, read_frames) == "TRUNCATED"


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    for read in (read_frames, read_headers):
        assert code_of(tmp_path / "absent.dcm", read) == "UNREADABLE"


def test_no_text_of_a_broken_header_is_repeated(tmp_path: Path) -> None:
    path = one_slice(tmp_path, PhotometricInterpretation="DOE JANE")
    with pytest.raises(Refused, match="COLOUR") as colour:
        read_frames(path, 64.0)
    path = one_slice(tmp_path, syntax="1.2.840.10008.1.2.4.100")
    unknown = path.read_bytes().replace(b"1.2.840.10008.1.2.4.100", b"1.2.840.19500101.1.2.3.")
    path.write_bytes(unknown)
    with pytest.raises(Refused, match="UNSUPPORTED_SYNTAX") as syntax:
        read_frames(path, 64.0)
    assert "DOE" not in str(colour.value) and "1950" not in str(syntax.value)


def convert(folder: Path, study: str = "77", **settings: float) -> Converted:
    source = SeriesSource(study, "2", "train", "axial", "t2", folder)
    return convert_series(source, folder.parent / "out", ConvertSettings(**settings))


def test_a_file_of_another_study_is_left_out(tmp_path: Path) -> None:
    volume = voxels(5, 8, 8)
    write_stack(tmp_path / "in", volume, AXIAL, shuffle=None, StudyInstanceUID="1.2.77")
    write_slice(
        tmp_path / "in" / "stray.dcm",
        volume[0],
        AXIAL,
        np.array([0, 0, 20.0]),
        6,
        StudyInstanceUID="1.2.78",
    )
    result = convert(tmp_path / "in")
    assert [(r["file"], r["code"]) for r in result.rejected] == [("stray.dcm", "OTHER_STUDY")]
    assert result.stacks[0]["slices"] == 5


def test_the_study_is_its_folders_name_or_what_most_say() -> None:
    assert own_study([b"77", b"78", b"78"], "77") == b"77"
    assert own_study([b"1.5", b"1.6", b"1.6"], "77") == b"1.6"
    assert own_study([b"1.5", b"1.6"], "77") is None
    assert own_study([b"1.5", b"1.6", b"1.7"], "77") is None
    assert own_study([b"", b"1.6", b""], "77") is None


def test_a_series_of_another_study_is_found(tmp_path: Path) -> None:
    sources = []
    for series, uid in (("1", "9.1"), ("2", "9.1"), ("3", "9.2"), ("4", None)):
        given = {"StudyInstanceUID": uid} if uid else {}
        write_stack(tmp_path / series, voxels(3, 8, 8), AXIAL, **given)
        sources.append(SeriesSource("77", series, "train", "axial", "t2", tmp_path / series))
    assert stray_series(sources, ConvertSettings()) == {"3"}
    assert stray_series(sources[2:], ConvertSettings()) == set()


def test_a_series_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    write_stack(tmp_path / "in", voxels(6, 64, 64), AXIAL)
    # Six slices of 8 KB, as stored and as decoded: 0.094 MB.
    assert len(convert(tmp_path / "in", max_series_mb=0.1).stacks) == 1
    result = convert(tmp_path / "in", max_series_mb=0.09)
    assert not result.stacks
    assert [(row["file"], row["code"]) for row in result.rejected] == [(None, "TOO_LARGE")]


def test_wide_values_are_rescaled_exactly(tmp_path: Path) -> None:
    plane = np.arange(64 * 64, dtype=np.uint16).reshape(1, 64, 64)
    for slope, intercept, kind in ((1, -1024, np.int16), (2, 50000, np.uint16), (40, 0, np.int32)):
        write_stack(
            tmp_path / f"{slope}",
            np.repeat(plane, 4, axis=0),
            AXIAL,
            RescaleSlope=str(slope),
            RescaleIntercept=str(intercept),
        )
        files = sorted((tmp_path / f"{slope}").iterdir())
        found = decode_volume([frame for file in files for frame in read_frames(file, 64.0)])
        assert found.dtype == kind
        np.testing.assert_array_equal(found[2], plane[0].astype(np.int64) * slope + intercept)
