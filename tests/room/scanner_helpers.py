"""A known object in a patient who lies in a scanner, and the DICOM files of its slices.

The scanner knows its own axes only: x and y across the bore (y points down), z the way in
which the patient is moved. Where these lie in the patient follows from the patient position
(PS3.3 C.7.3.1.1.2): which side of the patient comes first and which side points down.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

# Directions in the patient: +x to the left, +y to the back, +z to the head.
_FIRST = {
    "HF": (0, 0, 1),
    "FF": (0, 0, -1),
    "LF": (1, 0, 0),
    "RF": (-1, 0, 0),
    "AF": (0, -1, 0),
    "PF": (0, 1, 0),
}
_DOWN = {"S": (0, 1, 0), "P": (0, -1, 0), "DR": (-1, 0, 0), "DL": (1, 0, 0)}
POSITIONS = (
    *("HFS", "HFP", "HFDR", "HFDL", "FFS", "FFP", "FFDR", "FFDL"),
    *("LFS", "LFP", "RFS", "RFP", "AFDR", "AFDL", "PFDR", "PFDL"),
)
PLANE_AXIS = {"sagittal": 0, "axial": 2}
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
NATIVE = (
    *(uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian),
    uid.DeflatedExplicitVRLittleEndian,
)

# The object: cubes of 0.7 mm, 40 a side, each with a code of its own; beyond, it repeats.
_CELL_MM, _CELLS, _OFFSET_MM = 0.7, 40, 14.01357913


def gantry_axes(position: str) -> NDArray[np.float64]:
    """Patient directions (3, 3) of the scanner's x, y (down) and z (inwards) as columns."""
    inwards = np.array(_FIRST[position[:2]], float)
    down = np.array(_DOWN[position[2:]], float)
    return np.stack([np.cross(down, inwards), down, inwards], axis=1)


def orientations(position: str, plane: str) -> list[NDArray[np.float64]]:
    """Every (6,) pair of scanner axes, with either sign, whose slices lie in ``plane``."""
    axes = gantry_axes(position)
    signed = [sign * axes[:, column] for column in range(3) for sign in (1.0, -1.0)]
    return [
        np.concatenate([row, column])
        for row, column in itertools.permutations(signed, 2)
        if abs(np.cross(row, column)[PLANE_AXIS[plane]]) > 0.5
    ]


def object_codes(
    places_mm: NDArray[np.float64], bits: int = 16, signed: bool = False
) -> NDArray[np.int64]:
    """The object's value at (..., 3) LPS mm: in 16 bits another one for every cube.

    Fewer bits repeat values, but not so that a mirrored object is the same.
    """
    cell = np.floor((places_mm + _OFFSET_MM) / _CELL_MM).astype(np.int64) % _CELLS
    code = (cell[..., 0] * _CELLS + cell[..., 1]) * _CELLS + cell[..., 2]
    # In fewer bits the code is mixed first, so that its low bits differ in every direction.
    code = code if bits >= 16 else (code * 40503 >> 4) % (1 << bits)
    return code - (1 << (bits - 1)) if signed else code


@dataclass(frozen=True)
class Acquisition:
    """Parallel slices: where their voxels lie, in the order in which they were acquired."""

    orientation: NDArray[np.float64]
    spacing: tuple[float, float] = (1.5, 1.3)  # between rows, between columns
    step_mm: float = 2.5
    shape: tuple[int, int, int] = (5, 6, 7)
    centre_mm: tuple[float, float, float] = (1.7, -2.3, 0.9)
    backwards: bool = False

    @property
    def firsts_mm(self) -> NDArray[np.float64]:
        """ImagePositionPatient of each slice, (slices, 3)."""
        slices, rows, cols = self.shape
        row, column = self.orientation[:3], self.orientation[3:]
        heights = self.step_mm * (np.arange(slices) - (slices - 1) / 2)
        heights = heights[::-1] if self.backwards else heights
        corner = np.array(self.centre_mm)
        corner = corner - row * self.spacing[1] * (cols - 1) / 2
        corner = corner - column * self.spacing[0] * (rows - 1) / 2
        return corner + heights[:, None] * np.cross(row, column)

    def places_mm(self) -> NDArray[np.float64]:
        """Where every voxel lies, (slices, rows, cols, 3)."""
        _, rows, cols = self.shape
        along = np.arange(cols)[:, None] * self.orientation[:3] * self.spacing[1]
        down = np.arange(rows)[:, None] * self.orientation[3:] * self.spacing[0]
        return self.firsts_mm[:, None, None] + down[None, :, None] + along[None, None]


def decimal(value: float) -> str:
    """A decimal string of at most sixteen characters, as exact as fits."""
    return next(t for t in (f"{value:.{n}g}" for n in range(15, 0, -1)) if len(t) <= 16)


def describe_pixels(dataset: Dataset, shape: Sequence[int], bits: tuple[int, int, bool]) -> None:
    """Set rows, columns and (allocated, stored, signed) bits."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = shape
    dataset.BitsAllocated, dataset.BitsStored, signed = bits
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(signed)


def slice_dataset(
    acquisition: Acquisition, place: int, number: int, bits: tuple[int, int, bool]
) -> Dataset:
    """The header of one slice, without pixels."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = MR_IMAGE, f"1.2.3.{number}"
    dataset.InstanceNumber = str(number)
    dataset.ImagePositionPatient = [decimal(v) for v in acquisition.firsts_mm[place]]
    dataset.ImageOrientationPatient = [decimal(v) for v in acquisition.orientation]
    dataset.PixelSpacing = [decimal(v) for v in acquisition.spacing]
    dataset.SliceThickness = "1"
    describe_pixels(dataset, acquisition.shape[1:], bits)
    return dataset


def enhanced_dataset(
    acquisition: Acquisition, order: Sequence[int], bits: tuple[int, int, bool]
) -> Dataset:
    """The header of one enhanced MR file whose frames lie in ``order``, without pixels."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = ENHANCED_MR, "1.2.3"
    dataset.NumberOfFrames = str(len(order))
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [decimal(v) for v in acquisition.orientation]
    measures.PixelSpacing = [decimal(v) for v in acquisition.spacing]
    measures.SliceThickness = "1"
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for first_mm in acquisition.firsts_mm[list(order)]:
        position, frame = Dataset(), Dataset()
        position.ImagePositionPatient = [decimal(v) for v in first_mm]
        frame.PlanePositionSequence = [position]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    describe_pixels(dataset, acquisition.shape[1:], bits)
    return dataset


def _rle(pixels: NDArray[Any], stored: int) -> bytes:
    """One RLE frame (PS3.5 G): a segment for each byte of a pixel, the highest first."""
    planes = pixels.view(np.uint8).reshape(-1, pixels.itemsize).T[::-1]
    segments = [_pack_bits(plane.tobytes()) for plane in planes]
    starts = itertools.accumulate((len(segment) for segment in segments[:-1]), initial=64)
    header = struct.pack("<I", len(segments)) + b"".join(struct.pack("<I", at) for at in starts)
    return header.ljust(64, b"\0") + b"".join(segments)


def _pack_bits(data: bytes) -> bytes:
    packed = bytearray()
    for value, run in itertools.groupby(data):
        for count in _parts(len(list(run)), 128):
            # A literal of one byte, or a run; nothing asks for the shortest code.
            packed += bytes([0 if count == 1 else 257 - count, value])
    return bytes(packed) + b"\0" * (len(packed) % 2)


def _parts(total: int, most: int) -> list[int]:
    return [most] * (total // most) + ([total % most] if total % most else [])


def _jpeg(*options: Any, **more: Any) -> Any:
    def encode(pixels: NDArray[Any], bits: int) -> bytes:
        kind = np.uint8 if bits <= 8 else np.uint16
        return imagecodecs.jpeg8_encode(pixels.astype(kind), *options, bitspersample=bits, **more)

    return encode


# Compressed syntaxes by a short name: the UID, how a frame is encoded (unsigned pixels and
# bits stored), and by how much a decoded value may differ.
CODECS: dict[str, tuple[str, Any, int]] = {
    "rle": (uid.RLELossless, _rle, 0),
    "jpeg lossless": (
        uid.JPEGLossless,
        _jpeg(lossless=True, predictor=6),
        0,
    ),
    "jpeg lossless first order": (
        uid.JPEGLosslessSV1,
        lambda p, bits: imagecodecs.ljpeg_encode(p, bitspersample=bits),
        0,
    ),
    "jpeg-ls": (uid.JPEGLSLossless, lambda p, bits: imagecodecs.jpegls_encode(p), 0),
    "jpeg-ls near": (uid.JPEGLSNearLossless, lambda p, bits: imagecodecs.jpegls_encode(p, 2), 2),
    "jpeg 2000 lossless": (
        uid.JPEG2000Lossless,
        lambda p, bits: imagecodecs.jpeg2k_encode(
            p, codecformat="j2k", reversible=True, bitspersample=bits
        ),
        0,
    ),
    "jpeg 2000": (
        uid.JPEG2000,
        lambda p, bits: imagecodecs.jpeg2k_encode(
            p, 90, codecformat="j2k", reversible=False, bitspersample=bits
        ),
        4,
    ),
    "htj2k lossless": (
        uid.HTJ2KLossless,
        lambda p, bits: imagecodecs.htj2k_encode(p, reversible=True),
        0,
    ),
    "jpeg baseline": (uid.JPEGBaseline8Bit, _jpeg(100), 2),
    "jpeg extended": (uid.JPEGExtended12Bit, _jpeg(100), 2),
}


def add_pixels(
    dataset: Dataset,
    frames: Sequence[NDArray[np.int64]],
    codec: str | None = None,
    fragments: int = 1,
    offset_table: bool = True,
) -> str:
    """Add PixelData, compressed by one of CODECS or plain; return the transfer syntax (plain: "").

    Values are stored in BitsAllocated, signed ones in two's complement of BitsStored, but in
    JPEG 2000, which knows signs, as they are.
    """
    kind = np.dtype(f"u{dataset.BitsAllocated // 8}")
    mask = (1 << dataset.BitsStored) - 1
    if dataset.PixelRepresentation and codec and "2" in codec:
        kind, mask = np.dtype(f"i{kind.itemsize}"), -1
    stored = [np.ascontiguousarray((frame & mask).astype(kind)) for frame in frames]
    if codec is None:
        dataset.add_new("PixelData", "OW", b"".join(frame.tobytes() for frame in stored))
        return ""
    syntax, encode, _ = CODECS[codec]
    encoded = [bytes(encode(frame, dataset.BitsStored)) for frame in stored]
    joined = encapsulate(encoded, fragments_per_frame=fragments, has_bot=offset_table)
    dataset.add_new("PixelData", "OB", joined)
    dataset["PixelData"].is_undefined_length = True
    return str(syntax)


def file_bytes(dataset: Dataset, syntax: str, meta: bool = True, preamble: bool = True) -> bytes:
    """The dataset as a file in ``syntax``, with or without preamble and meta information."""
    implicit, little = (
        syntax == uid.ImplicitVRLittleEndian,
        syntax != uid.ExplicitVRBigEndian,
    )
    if not little and "PixelData" in dataset and dataset.BitsAllocated > 8:
        # pydicom writes pixel data as it is given: its words are turned here.
        plain = np.frombuffer(dataset.PixelData, f"<u{dataset.BitsAllocated // 8}")
        dataset.PixelData = plain.byteswap().tobytes()
    body = io.BytesIO()
    pydicom.dcmwrite(
        body, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=False
    )
    data = body.getvalue()
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflater.compress(data) + deflater.flush()
    if not meta:
        return (b"\0" * 128 + b"DICM" if preamble else b"") + data
    information = FileMetaDataset()
    information.MediaStorageSOPClassUID = dataset.SOPClassUID
    information.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    information.TransferSyntaxUID = syntax
    head = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(head, information, enforce_standard=True)
    return (b"\0" * 128 + b"DICM" if preamble else b"") + head.getvalue() + data
