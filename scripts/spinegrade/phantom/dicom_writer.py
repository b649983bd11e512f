"""DICOM files as bare as the RSNA 2024 lumbar ones: 26 elements, no Modality, RLE Lossless."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import RLELossless
from pydicom.valuerep import DSfloat

from spinegrade.phantom.stacks import Series, Stack

_ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
_IMPLEMENTATION = "1.2.40.0.13.1.1.1"


@dataclass(frozen=True)
class Identity:
    """Names of a series: ids as in the folder names, the frame of reference, the date."""

    study: str
    series: str
    frame_of_reference: str
    date: str
    time: str


def rle_frame(pixels: NDArray[np.uint16]) -> bytes:
    """One (rows, cols) frame as a DICOM RLE stream (PS3.5 annex G): high bytes, then low.

    Every row is encoded by itself; segments have an even length.
    """
    halves = pixels.astype("<u2", copy=False).view(np.uint8).reshape(*pixels.shape, 2)
    segments = []
    for byte in (1, 0):
        plane = np.ascontiguousarray(halves[..., byte])
        segment = bytes(imagecodecs.packbits_encode(plane, axis=-1))
        segments.append(segment + b"\0" * (len(segment) % 2))
    header = np.zeros(16, "<u4")
    header[:3] = (2, 64, 64 + len(segments[0]))
    return header.tobytes() + b"".join(segments)


def _decimal(value: float) -> str:
    """A DICOM decimal string: at most 16 characters."""
    return str(DSfloat(float(value), auto_format=True))


def _dataset(
    identity: Identity,
    stack: Stack,
    position: NDArray[np.float64],
    spacing_between: float,
    instance: int,
    description: str,
    pixels: NDArray[np.uint16],
) -> FileDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = _ENHANCED_MR
    meta.MediaStorageSOPInstanceUID = f"{identity.study}.1.{instance}"
    meta.TransferSyntaxUID = RLELossless
    meta.ImplementationClassUID = _IMPLEMENTATION
    meta.ImplementationVersionName = "PYDICOM 2.4.2"
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.ContentDate = identity.date
    dataset.ContentTime = identity.time
    dataset.SeriesDescription = description
    dataset.PatientID = identity.study
    dataset.SliceThickness = _decimal(stack.thickness_mm)
    dataset.SpacingBetweenSlices = _decimal(spacing_between)
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID = identity.study
    dataset.SeriesInstanceUID = f"{identity.study}.{identity.series}"
    dataset.InstanceNumber = str(instance)
    dataset.ImagePositionPatient = [_decimal(value) for value in position]
    orientation = (*stack.along_row, *stack.along_column)
    dataset.ImageOrientationPatient = [_decimal(value) for value in orientation]
    dataset.FrameOfReferenceUID = identity.frame_of_reference
    normal = np.cross(stack.along_row, stack.along_column)
    dataset.SliceLocation = _decimal(position @ normal)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelSpacing = [_decimal(stack.spacing_mm)] * 2
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
    low, high = np.quantile(pixels[::4, ::4], [0.02, 0.995])
    dataset.WindowCenter = str(int((low + high) / 2))
    dataset.WindowWidth = str(max(1, int(high - low)))
    dataset.PixelData = encapsulate([rle_frame(pixels)])
    dataset["PixelData"].VR = "OB"
    return dataset


def write_series(
    folder: Path, identity: Identity, series: Series, stacks: list[NDArray[np.uint16]]
) -> None:
    """Write ``<instance>.dcm`` for every slice of a series into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    weighting = "T1" if series.sequence.weighting == "t1" else "T2"
    number = 0
    for stack, slices in zip(series.stacks, stacks, strict=True):
        spacing = float(np.linalg.norm(stack.step_mm))
        for index in range(stack.count):
            instance = series.instance_numbers[number]
            number += 1
            dataset = _dataset(
                identity, stack, stack.position(index), spacing, instance, weighting, slices[index]
            )
            dcmwrite(folder / f"{instance}.dcm", dataset, enforce_file_format=True)
