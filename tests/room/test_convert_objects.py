"""What a file is: a picture of the patient, another DICOM object, a pointer, a broken copy."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_helpers import AXIAL, MR_IMAGE, voxels, write_slice, write_stack
from pydicom.uid import UID_dictionary
from spinegrade.convert.header import read_frames, read_headers
from spinegrade.convert.objects import is_picture_class
from spinegrade.convert.refusals import Refused
from spinegrade.convert.series import convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.source import SeriesSource
from spinegrade.convert.survey import survey_series

STORAGE = "1.2.840.10008.5.1.4.1.1."

READERS = pytest.mark.parametrize("read", [read_frames, read_headers])


def one_slice(tmp_path: Path, **changes: object) -> Path:
    return write_slice(tmp_path / "1.dcm", voxels(1, 30, 20)[0], AXIAL, np.ones(3), 1, **changes)


def refusal(path: Path, read: object) -> Refused:
    with pytest.raises(Refused) as caught:
        read(path, 64.0)
    return caught.value


@READERS
def test_the_frame_of_reference_is_kept_as_it_stands(tmp_path: Path, read: object) -> None:
    (frame,) = read(one_slice(tmp_path, FrameOfReferenceUID="1.2.3.45"), 64.0)
    assert frame.frame_of_reference == b"1.2.3.45"
    (frame,) = read(one_slice(tmp_path), 64.0)
    assert frame.frame_of_reference == b""


@READERS
@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS"),
        ("version https://hawser.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS"),
        ("/annex/objects/SHA256E-s9--00.dcm\n", "git-annex"),
    ],
)
def test_a_pointer_is_to_be_fetched(tmp_path: Path, read: object, text: str, tool: str) -> None:
    path = tmp_path / "1.dcm"
    path.write_text(text)
    refused = refusal(path, read)
    assert refused.code == "NOT_FETCHED"
    assert tool in refused.found


@READERS
def test_a_read_that_returns_less_is_read_on(
    tmp_path: Path, read: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = one_slice(tmp_path)
    (whole,) = read(path, 64.0)
    plain = os.read
    monkeypatch.setattr(os, "read", lambda file, size: plain(file, min(size, 100)))
    (frame,) = read(path, 64.0)
    assert frame.pixels.data_bytes == whole.pixels.data_bytes == 30 * 20 * 2
    if read is read_frames:
        assert frame.pixels.value() == whole.pixels.value()


def broken(whole: bytes) -> dict[str, bytes]:
    """What a copy or a download that broke off leaves of a file."""
    rows = whole.index(b"\x28\x00\x10\x00US")
    number = whole.index(b"\x20\x00\x13\x00IS")
    found = {f"ends at {end}": whole[:end] for end in (0, 1, 131, 132, 150, 300, 330)}
    return found | {
        "is zeros": bytes(len(whole)),
        "begins with zeros": bytes(200) + whole[200:],
        "turns to zeros": whole[:number] + bytes(len(whole) - number),
        "turns to zeros, of no class": (whole[:number] + bytes(len(whole) - number)).replace(
            MR_IMAGE.encode(), bytes(len(MR_IMAGE))
        ),
        # Nothing is cut in two here; that it is an MR image says that there was more.
        "ends between elements": whole[:number],
        "ends before rows": whole[:rows],
        "has no preamble": whole[132:300],
        "ends in its pixels": whole[:-1],
    }


@READERS
def test_broken_copies_are_to_be_copied_again(tmp_path: Path, read: object) -> None:
    path = one_slice(tmp_path)
    for case, data in broken(path.read_bytes()).items():
        path.write_bytes(data)
        assert refusal(path, read).code == "TRUNCATED", case


@READERS
@pytest.mark.parametrize("text", ["hello", "\x89PNG", "<html>", "PK\x03\x04" + "x" * 300])
def test_other_files_are_no_broken_copies(tmp_path: Path, read: object, text: str) -> None:
    path = tmp_path / "1.dcm"
    path.write_text(text)
    assert refusal(path, read).code == "NOT_AN_IMAGE"


# What an object of the shape and the place of a slice may be, and how it is told.
OBJECTS = {
    "segmentation": ("66.4", "SEG", "Segmentation Storage"),
    "segmentation called MR": ("66.4", "MR", "Segmentation Storage"),
    "label map": ("66.7", "SEG", "Label Map Segmentation Storage"),
    "dose": ("481.2", "RTDOSE", "RT Dose Storage"),
    "parametric map": ("30", "MR", "Parametric Map Storage"),
    "dose called MR Image": ("4", "RTDOSE", "radiotherapy dose"),
    "saved report": ("7", "SR", "structured report"),
    "presentation state": ("11.1", "PR", "Grayscale Softcopy Presentation State Storage"),
    "spectroscopy": ("4.2", "MR", "MR Spectroscopy Storage"),
    "unknown to the dictionary": ("66.99", None, "an unknown SOP class"),
    "no class, Modality": (None, "SEG", "segmentation"),
}


@READERS
@pytest.mark.parametrize("case", OBJECTS)
def test_a_result_is_no_picture(tmp_path: Path, read: object, case: str) -> None:
    number, modality, name = OBJECTS[case]
    changes = {"Modality": modality} if modality else {}
    uid = number and f"{STORAGE}{number}"
    path = one_slice(tmp_path, SOPClassUID=uid, **changes)
    refused = refusal(path, read)
    assert refused.code == "NOT_AN_IMAGE"
    assert name in refused.found
    assert "99" not in refused.found


@pytest.mark.parametrize(
    ("number", "modality"),
    [("4", "MR"), ("4", None), (None, "MR"), (None, None), ("2", "CT"), ("7", "OT"), ("128", "PT")],
)
def test_pictures_and_what_says_nothing_are_read(
    tmp_path: Path, number: str | None, modality: str | None
) -> None:
    changes = {"Modality": modality} if modality else {}
    uid = number and f"{STORAGE}{number}"
    assert len(read_frames(one_slice(tmp_path, SOPClassUID=uid, **changes), 64.0)) == 1


def test_the_class_in_the_file_meta_information_counts_where_no_other_is(tmp_path: Path) -> None:
    path = one_slice(tmp_path, SOPClassUID=None)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.MediaStorageSOPClassUID = f"{STORAGE}66.4"
    dataset.save_as(path)
    assert "Segmentation Storage" in refusal(path, read_frames).found


def test_the_classes_are_those_whose_names_say_image() -> None:
    # Named so by the standard, but objects of security and of materials testing; and the other
    # way round.
    strangers = {"501.1", "501.2.1", "501.2.2", "601.1", "601.2"}
    silent = {"6.2", "12.77"}
    for uid, (name, kind, *_) in UID_dictionary.items():
        number = uid.removeprefix(STORAGE)
        if kind == "SOP Class" and number != uid:
            picture = ("Image Storage" in name and number not in strangers) or number in silent
            assert is_picture_class(uid.encode()) == picture, name


def captures(folder: Path, classes: dict[str, str | None], **changes: object) -> list[tuple]:
    """Convert a stack and the files of ``classes`` beside it; (file, slices left) refused."""
    volume = voxels(5, 8, 8)
    write_stack(folder / "in", volume, AXIAL, shuffle=None, **changes)
    for place, (name, uid) in enumerate(classes.items()):
        position = np.array([0, 0, 4.0 * (5 + place)])
        write_slice(folder / "in" / name, volume[0], AXIAL, position, 9 + place, SOPClassUID=uid)
    source = SeriesSource("1", "2", "train", "axial", "t2", folder / "in")
    result = convert_series(source, folder / "out", ConvertSettings())
    assert {row["code"] for row in result.rejected} <= {"NOT_AN_IMAGE"}
    assert survey_series(source, ConvertSettings()).rejected == result.rejected
    return [row["file"] for row in result.rejected], [row["slices"] for row in result.stacks]


CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def test_a_saved_screen_beside_a_scan_is_left_out(tmp_path: Path) -> None:
    assert captures(tmp_path, {"screen.dcm": CAPTURE}) == (["screen.dcm"], [5])


def test_a_series_of_captures_alone_is_read(tmp_path: Path) -> None:
    assert captures(tmp_path, {"a.dcm": CAPTURE}, SOPClassUID=CAPTURE) == ([], [6])


def test_files_that_do_not_say_what_they_are_condemn_no_capture(tmp_path: Path) -> None:
    def write(path: Path, uid: str | None) -> None:
        dataset = pydicom.dcmread(path)
        del dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPClassUID = uid
        dataset.save_as(path, enforce_file_format=False)

    volume = voxels(5, 8, 8)
    write_stack(tmp_path / "in", volume, AXIAL, shuffle=None)
    for path in (tmp_path / "in").iterdir():
        write(path, CAPTURE if path.stem == "5" else "")
    source = SeriesSource("1", "2", "train", "axial", "t2", tmp_path / "in")
    result = convert_series(source, tmp_path / "out", ConvertSettings())
    assert not result.rejected
    assert result.stacks[0]["slices"] == 5


@READERS
def test_float_pixels_are_refused_as_such(tmp_path: Path, read: object) -> None:
    floats = {"FloatPixelData": b"f4f4" * 600, "DoubleFloatPixelData": b"f8f8f8f8" * 600}
    for keyword, data in floats.items():
        path = one_slice(tmp_path, PixelData=None, **{keyword: data})
        refused = refusal(path, read)
        assert (refused.code, refused.found) == ("UNSUPPORTED_SYNTAX", "float pixels are not read")


def test_every_image_at_one_position_is_told_as_that(tmp_path: Path) -> None:
    write_stack(tmp_path / "in", voxels(5, 8, 8), AXIAL, heights=[1e-9] * 5)
    source = SeriesSource("1", "2", "train", "axial", "t2", tmp_path / "in")
    rows = convert_series(source, tmp_path / "out", ConvertSettings()).rejected
    assert {row["found"] for row in rows} == {"all 5 images say the same position"}
    assert all("export them with their own positions" in row["action"] for row in rows)
