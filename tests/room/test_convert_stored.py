"""How a file stores its pixels: shifted, in segments with zeros behind, in a syntax of its own."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_helpers import AXIAL, voxels, write_slice
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless
from spinegrade.convert.header import read_frames, read_headers
from spinegrade.convert.pixels import FramesRefused, decode_stored, decode_volume
from spinegrade.convert.refusals import Refused


def decoded(path: Path) -> NDArray[np.generic]:
    return decode_volume(read_frames(path, 64.0))[0]


def refusal(path: Path) -> Refused:
    try:
        decoded(path)
    except Refused as refused:
        return refused
    except FramesRefused as refused:
        return refused.refused[0][1]
    raise AssertionError("nothing was refused")


def picture(stored: int, signed: bool, shape: tuple[int, int] = (12, 10)) -> NDArray[np.int64]:
    low = -(1 << (stored - 1)) if signed else 0
    values = np.random.default_rng(3).integers(low, low + (1 << stored), shape)
    values[0, :2] = low, low + (1 << stored) - 1
    return values


def write(path: Path, cells: NDArray[np.generic], **changes: object) -> Path:
    return write_slice(path, cells, AXIAL, np.zeros(3), 1, **changes)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("allocated", "stored", "high", "syntax"),
    [
        (16, 12, 15, ExplicitVRLittleEndian),
        (16, 12, 13, ExplicitVRLittleEndian),
        (16, 12, 15, RLELossless),
        (16, 10, 14, RLELossless),
        (8, 6, 7, ExplicitVRLittleEndian),
        (32, 20, 31, ExplicitVRLittleEndian),
    ],
)
@pytest.mark.parametrize("spare", ["empty", "overlay"])
def test_values_above_the_lowest_bits_are_shifted_down(
    tmp_path: Path, signed: bool, allocated: int, stored: int, high: int, syntax: str, spare: str
) -> None:
    values = picture(stored, signed)
    shift = high + 1 - stored
    cells = (values & ((1 << stored) - 1)) << shift
    if spare == "overlay":
        # One bit below the value, and one above it where there is one.
        cells |= np.random.default_rng(4).integers(0, 2, cells.shape)
        if high + 1 < allocated:
            cells |= np.random.default_rng(5).integers(0, 2, cells.shape) << (high + 1)
    cells = cells.astype(f"u{allocated // 8}")
    path = write(
        tmp_path / "1.dcm",
        cells,
        syntax=syntax,
        BitsStored=stored,
        HighBit=high,
        PixelRepresentation=int(signed),
    )
    np.testing.assert_array_equal(decoded(path), values)


def test_shifted_values_are_turned_and_rescaled_after_the_shift(tmp_path: Path) -> None:
    values = picture(12, False)
    path = write(
        tmp_path / "1.dcm",
        (values << 4).astype(np.uint16),
        HighBit=15,
        PhotometricInterpretation="MONOCHROME1",
        RescaleSlope="2",
        RescaleIntercept="-1000",
    )
    np.testing.assert_array_equal(decoded(path), (4095 - values) * 2 - 1000)


@pytest.mark.parametrize("signed", [False, True])
def test_values_that_are_not_shifted_as_said_are_refused(tmp_path: Path, signed: bool) -> None:
    cells = picture(12, signed).astype("i2" if signed else "u2")
    path = write(tmp_path / "1.dcm", cells, BitsStored=12, HighBit=15)
    refused = refusal(path)
    assert refused.code == "BAD_HEADER"
    assert "HighBit says that values lie 4 bits higher" in refused.found


@pytest.mark.parametrize("high", [0, 10, 16])
def test_an_impossible_high_bit_is_refused(tmp_path: Path, high: int) -> None:
    path = write(tmp_path / "1.dcm", voxels(1, 12, 10)[0], HighBit=high)
    refused = refusal(path)
    assert refused.code == "BAD_HEADER"
    assert f"HighBit is {high}, with 12 of 16 bits stored; 11 was expected" in refused.found


def packed(segment: bytes) -> bytes:
    """PackBits of ``segment``, written plainly: literals of at most 128 bytes."""
    parts = [segment[at : at + 128] for at in range(0, len(segment), 128)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def run_lengths(cells: NDArray[np.generic], fill: int, inner: int) -> bytes:
    """An RLE frame with ``fill`` zeros behind the last segment, ``inner`` behind the others."""
    planes = cells.reshape(-1, 1).view(np.uint8)[:, ::-1].T
    segments = [packed(plane.tobytes()) for plane in planes]
    segments = [part + bytes(inner) for part in segments[:-1]] + [segments[-1] + bytes(fill)]
    starts = 64 + np.cumsum([0, *map(len, segments[:-1])])
    header = [len(segments), *starts.tolist()]
    return struct.pack(f"<{len(header)}I", *header).ljust(64, b"\0") + b"".join(segments)


def write_run_lengths(path: Path, cells: NDArray[np.generic], stream: bytes) -> Path:
    write(path, cells, BitsStored=8 * cells.itemsize, HighBit=8 * cells.itemsize - 1)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = RLELossless
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    pydicom.dcmwrite(path, dataset)
    return path


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("fill", [0, 1, 2, 3, 4, 7])
@pytest.mark.parametrize("ends", [0, 200])
def test_zeros_behind_a_segment_are_no_pixels(
    tmp_path: Path, bits: int, fill: int, ends: int
) -> None:
    cells = picture(bits, False, (11, 13)).astype(f"u{bits // 8}")
    cells[-1, -5:] = ends  # zeros of the picture are not taken for those behind it
    stream = run_lengths(cells, fill, inner=fill)
    path = write_run_lengths(tmp_path / "1.dcm", cells, stream)
    found = np.empty_like(cells)
    decode_stored(read_frames(path, 64.0)[0], found)
    np.testing.assert_array_equal(found, cells)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_run_lengths_of_more_or_fewer_pixels_are_damaged(tmp_path: Path, bits: int) -> None:
    cells = picture(bits, False, (11, 13)).astype(f"u{bits // 8}")
    whole = run_lengths(cells, 0, 0)
    cases = {
        "a run too many": whole + b"\x81\x05",
        "a byte too many, then zeros": whole + b"\x00\x07" + bytes(4),
        "a last run of zeros too long": whole + b"\xff\x00",
        "cut": whole[:-20],
        "cut, then zeros": whole[:-20] + bytes(4),
        "zeros without end": whole + bytes(64),
        "another number of segments": b"\x05" + whole[1:],
    }
    for case, stream in cases.items():
        path = write_run_lengths(tmp_path / "1.dcm", cells, stream)
        assert refusal(path).code in ("DECODE_FAILED", "TRUNCATED"), case


@pytest.mark.parametrize("read", [read_frames, read_headers])
def test_plain_pixels_of_a_private_syntax_are_refused_by_name(tmp_path: Path, read: object) -> None:
    names = {
        b"1.2.840.113619.5.2\0": "the private syntax of GE, with big-endian pixels",
        b"1.2.840.19500101.12": "an unknown transfer syntax",
    }
    plain = write(tmp_path / "1.dcm", voxels(1, 12, 10)[0]).read_bytes()
    assert plain.count(b"1.2.840.10008.1.2.1\0") == 1
    for uid, name in names.items():
        uid = uid.ljust(20, b"\0")
        (tmp_path / "1.dcm").write_bytes(plain.replace(b"1.2.840.10008.1.2.1\0", uid))
        with pytest.raises(Refused) as caught:
            read(tmp_path / "1.dcm", 64.0)
        assert caught.value.code == "UNSUPPORTED_SYNTAX"
        assert caught.value.found == f"{name}, not compressed"


@pytest.mark.parametrize(
    "uid", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.20", ""]
)
def test_plain_pixels_under_a_known_syntax_are_read(tmp_path: Path, uid: str) -> None:
    volume = voxels(1, 12, 10)
    path = write(tmp_path / "1.dcm", volume[0])
    plain = path.read_bytes()
    declared = uid.encode().ljust(20, b"\0")
    if len(declared) > 20:
        declared = declared[: len(declared) + len(declared) % 2]
    old = b"UI\x14\x001.2.840.10008.1.2.1\0"
    new = b"UI" + struct.pack("<H", len(declared)) + declared
    path.write_bytes(plain.replace(old, new))
    np.testing.assert_array_equal(decoded(path), volume[0])


def unknown_groups(
    dataset: pydicom.Dataset, explicit: bool, little: bool = True
) -> list[tuple[int, bytes]]:
    """The functional groups of a dataset as bytes, to be written with unknown VR."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_sequence

    found = []
    for tag in (0x52009229, 0x52009230):
        stream = DicomBytesIO()
        stream.is_little_endian, stream.is_implicit_VR = little, not explicit
        write_sequence(stream, dataset[tag], ["utf8"])
        found.append((tag, stream.getvalue()))
        del dataset[tag]
    return found


def enhanced(volume: NDArray[np.uint16]) -> pydicom.Dataset:
    """A multi-frame file of axial slices 3 mm apart; its groups nested three deep."""
    from pydicom.dataset import Dataset, FileMetaDataset

    def sequence(**values: object) -> list[Dataset]:
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        return [item]

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = volume.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation, dataset.SamplesPerPixel = 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.SharedFunctionalGroupsSequence = sequence(
        PixelMeasuresSequence=sequence(PixelSpacing=["0.5", "0.25"]),
        PlaneOrientationSequence=sequence(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    )
    dataset.PerFrameFunctionalGroupsSequence = [
        sequence(
            PlanePositionSequence=sequence(ImagePositionPatient=[1, 2, 3 * number]),
            MRDiffusionSequence=sequence(
                DiffusionBValue=float(number),
                DiffusionGradientDirectionSequence=sequence(DiffusionGradientOrientation=[0, 0, 1]),
            ),
        )[0]
        for number in range(len(volume))
    ]
    dataset.PixelData = volume.tobytes()
    return dataset


# Explicit elements of undefined length hide where they end.
@pytest.mark.parametrize(("explicit", "defined"), [(False, True), (False, False), (True, True)])
def test_functional_groups_of_unknown_vr_are_read(
    tmp_path: Path, explicit: bool, defined: bool
) -> None:
    volume = voxels(4, 12, 10)
    dataset = enhanced(volume)
    path = tmp_path / "1.dcm"
    unknown = b""
    for tag, value in unknown_groups(dataset, explicit):
        length = len(value) if defined else 0xFFFFFFFF
        end = b"" if defined else b"\xfe\xff\xdd\xe0" + bytes(4)
        unknown += struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"UN", 0, length) + value + end
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    whole = path.read_bytes()
    pixels = whole.rindex(b"\xe0\x7f\x10\x00OW")
    path.write_bytes(whole[:pixels] + unknown + whole[pixels:])
    for read in (read_frames, read_headers):
        frames = read(path, 64.0)
        assert [frame.position_mm.tolist() for frame in frames] == [[1, 2, 3 * n] for n in range(4)]
        assert frames[3].spacing_mm.tolist() == [0.5, 0.25]
        # Numbers in binary, two and three deep.
        assert struct.unpack("<d", frames[3].tags[0x00189087]) == (3.0,)
        assert struct.unpack("<3d", frames[3].tags[0x00189089]) == (0.0, 0.0, 1.0)
    np.testing.assert_array_equal(decode_volume(read_frames(path, 64.0)), volume)


def test_sequences_of_unknown_vr_inside_known_groups_are_read(tmp_path: Path) -> None:
    volume = voxels(4, 12, 10)
    dataset = enhanced(volume)
    path = tmp_path / "1.dcm"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    data = path.read_bytes().replace(b"\x20\x00\x13\x91SQ", b"\x20\x00\x13\x91UN")
    assert data.count(b"\x20\x00\x13\x91UN") == len(volume)
    parts = data.split(b"\x20\x00\x32\x00DS")
    # Inside, implicit: a length of four bytes in the place of VR and length.
    data = parts[0] + b"".join(
        b"\x20\x00\x32\x00" + part[:2] + bytes(2) + part[2:] for part in parts[1:]
    )
    path.write_bytes(data)
    assert [frame.position_mm[2] for frame in read_frames(path, 64.0)] == [0, 3, 6, 9]


def test_groups_of_unknown_vr_are_little_endian_in_a_big_endian_file(tmp_path: Path) -> None:
    volume = voxels(4, 12, 10)
    dataset = enhanced(volume)
    dataset.PixelData = volume.byteswap().tobytes()
    unknown = b""
    for tag, value in unknown_groups(dataset, explicit=False):
        unknown += struct.pack(">HH2sHI", tag >> 16, tag & 0xFFFF, b"UN", 0, len(value)) + value
    path = tmp_path / "1.dcm"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path, enforce_file_format=True)
    whole = path.read_bytes()
    pixels = whole.rindex(b"\x7f\xe0\x00\x10OW")
    path.write_bytes(whole[:pixels] + unknown + whole[pixels:])
    frames = read_frames(path, 64.0)
    assert [frame.position_mm[2] for frame in frames] == [0, 3, 6, 9]
    np.testing.assert_array_equal(decode_volume(frames), volume)
