"""Whole series of DICOM files in every syntax, which the fuzzer damages."""

from __future__ import annotations

import struct
import sys
from functools import cache
from pathlib import Path

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests" / "room"))

from scanner_helpers import (  # noqa: E402
    CODECS,
    NATIVE,
    Acquisition,
    add_pixels,
    enhanced_dataset,
    file_bytes,
    object_codes,
    orientations,
    slice_dataset,
)

# Stands in every text of every header, over and over: whatever piece of a text lands in an
# output holds it.
TOKEN = "QZXJ"
TEXT = TOKEN * 8
_AXIAL = orientations("HFS", "axial")[0]
_SAGITTAL = orientations("HFS", "sagittal")[0]
_SHAPE = (5, 12, 10)


def _add_text(dataset: Dataset, undefined_length: bool = False) -> Dataset:
    dataset.PatientName = dataset.PatientID = dataset.PatientComments = TEXT
    dataset.StudyDescription = dataset.SeriesDescription = dataset.InstitutionName = TEXT
    dataset.ImageComments = dataset.ProtocolName = dataset.Manufacturer = TEXT
    dataset.StudyInstanceUID = "1.2.3.4"
    inner, outer = Dataset(), Dataset()
    inner.CodeMeaning = inner.CodeValue = TEXT[:16]
    outer.PurposeOfReferenceCodeSequence = [inner]
    dataset.ReferencedImageSequence = [outer]
    dataset.add_new(0x00111001, "LO", TEXT)
    for element in dataset.iterall() if undefined_length else ():
        element.is_undefined_length = element.VR == "SQ"
    return dataset


def _single(
    codec: str | None = None,
    syntax: str = uid.ExplicitVRLittleEndian,
    bits: tuple[int, int, bool] = (16, 12, False),
    orientation: np.ndarray = _AXIAL,
    fragments: int = 1,
    undefined_length: bool = False,
    blank: bool = False,
    copies: int = 1,
    **elements: object,
) -> dict[bytes, bytes]:
    """A file a slice; ``copies``: volumes at the same positions, told apart by an echo time."""
    acquisition = Acquisition(orientation, shape=_SHAPE)
    codes = object_codes(acquisition.places_mm(), bits[1], bits[2]) * (not blank)
    files = {}
    for number in range(len(codes) * copies):
        place = number % len(codes)
        dataset = _add_text(slice_dataset(acquisition, place, number + 1, bits), undefined_length)
        dataset.EchoTime = str(10 + 80 * (number // len(codes)))
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        packed = add_pixels(dataset, [codes[place] // (1 + number // len(codes))], codec, fragments)
        files[f"{number + 1}.dcm".encode()] = file_bytes(dataset, packed or syntax)
    return files


def _multi(codec: str | None = None, fragments: int = 1, table: bool = True) -> dict[bytes, bytes]:
    acquisition = Acquisition(_SAGITTAL, shape=_SHAPE)
    order = [3, 0, 4, 1, 2]
    bits = (8, 8, False) if codec == "jpeg baseline" else (16, 12, False)
    dataset = _add_text(enhanced_dataset(acquisition, order, bits), undefined_length=True)
    codes = object_codes(acquisition.places_mm(), *bits[1:])[order]
    packed = add_pixels(dataset, list(codes), codec, fragments, table)
    return {b"enhanced": file_bytes(dataset, packed or uid.ExplicitVRLittleEndian)}


def _private_header(slices: int) -> bytes:
    """A private header of the kind that says how a mosaic is laid out."""
    tags = {b"NumberOfImagesInMosaic": [b"%d" % slices], b"SliceNormalVector": [b"0", b"0", b"1"]}
    data = b"SV10\4\3\2\1" + struct.pack("<II", len(tags), 77)
    for name, items in tags.items():
        vr = b"FD" if len(items) > 1 else b"US"
        data += struct.pack("<64si4s3i", name, len(items), vr, 0, len(items), 77)
        for item in items:
            data += struct.pack("<4i", len(item), len(item), 77, len(item))
            data += item.ljust(-(-len(item) // 4) * 4, b"\0")
    return data


def _mosaic() -> dict[bytes, bytes]:
    files = {}
    for number in (1, 2):
        dataset = _add_text(slice_dataset(Acquisition(_AXIAL), 0, number, (16, 12, False)))
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
        dataset.EchoTime = str(number)
        dataset.SpacingBetweenSlices = "3"
        dataset.add_new(0x00290010, "LO", "SIEMENS CSA HEADER")
        dataset.add_new(0x00291010, "OB", _private_header(4))
        sheet = np.arange(24 * 20).reshape(24, 20) * number
        dataset.Rows, dataset.Columns = sheet.shape
        add_pixels(dataset, [sheet])
        files[b"%d" % number] = file_bytes(dataset, uid.ExplicitVRLittleEndian)
    return files


@cache
def seeds() -> list[tuple[str, str, dict[bytes, bytes]]]:
    """Whole series: name, plane, files."""
    found: list[tuple[str, str, dict[bytes, bytes]]] = []

    def add(name: str, plane: str, files: dict[bytes, bytes]) -> None:
        found.append((name, plane, files))

    for number, syntax in enumerate(NATIVE):
        add(f"native {number}", "axial", _single(syntax=syntax))
        add(f"undefined {number}", "axial", _single(syntax=syntax, undefined_length=True))
    for codec in CODECS:
        bits = (8, 8, False) if codec == "jpeg baseline" else (16, 12, False)
        add(codec, "sagittal", _single(codec, bits=bits, orientation=_SAGITTAL))
        add(f"{codec} blank", "axial", _single(codec, bits=bits, blank=True))
        add(f"{codec} fragments", "axial", _single(codec, bits=bits, fragments=3))
        add(f"{codec} frames", "sagittal", _multi(codec))
        add(f"{codec} frames fragments", "sagittal", _multi(codec, 1 if codec == "rle" else 3))
        add(f"{codec} frames no table", "sagittal", _multi(codec, table=False))
    for bits in ((8, 8, True), (16, 16, True), (32, 24, False), (32, 32, True)):
        add(f"bits {bits}", "axial", _single(bits=bits, RescaleIntercept="-1024"))
    add("frames", "sagittal", _multi())
    add("echoes", "axial", _single(copies=2))
    add("inverted blank", "axial", _single(blank=True, PhotometricInterpretation="MONOCHROME1"))
    add("mosaic", "axial", _mosaic())
    return found
