"""Odd but valid series whose right volumes are known voxel by voxel.

A series is written three times. In the first every voxel holds its place along the patient's x
axis, in the second along y, in the third along z, each with a mark of the scan that it belongs
to. So three conversions of one series tell of every voxel of a volume where it comes from, also
where a converter interpolates. The header of a voxel's slice and its value say the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from scanner_helpers import ENHANCED_MR, MR_IMAGE, add_pixels, decimal, describe_pixels, file_bytes

AXES = "xyz"
# A value is the place in twentieths of a millimetre above -100 mm; each scan has a band of its own.
PER_MM, LOWEST_MM, BAND = 20.0, -100.0, 4096
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_POINTERS, _POINTED_GROUPS = (0x00209056, 0x00209057, 0x00189082), (0x00209111,) * 2 + (0x00189114,)
PLAIN = str(uid.ExplicitVRLittleEndian)

Files = Iterator[tuple[str, bytes]]


@dataclass(frozen=True)
class Scan:
    """One image in three dimensions: where its slices truly lie.

    ``firsts_mm`` (n, 3): the first pixel of each slice, along the slices' normal or against it.
    ``axes`` (n, 6) or (6,): row and column directions. ``spacing_mm``: between rows, columns.
    ``pieces``: how many volumes hold it, all other things right. ``wanted``: it may not be lost.
    """

    label: str
    firsts_mm: NDArray[np.float64]
    axes: NDArray[np.float64] | tuple[float, ...] = SAGITTAL
    spacing_mm: tuple[float, float] = (1.0, 1.2)
    rows: int = 20
    cols: int = 24
    pieces: int = 1
    wanted: bool = True

    def axes_of(self, place: int) -> NDArray[np.float64]:
        """Row and column directions (6,) of a slice."""
        axes = np.asarray(self.axes, float)
        return axes if axes.ndim == 1 else axes[place]

    def places_mm(self) -> NDArray[np.float64]:
        """Where every voxel lies, (slices, rows, cols, 3)."""
        y, x = np.mgrid[: self.rows, : self.cols][..., None].astype(float)
        planes = []
        for place, first in enumerate(self.firsts_mm):
            row, column = self.axes_of(place).reshape(2, 3)
            planes.append(first + row * self.spacing_mm[1] * x + column * self.spacing_mm[0] * y)
        return np.array(planes)

    def values(self, axis: int, mark: int) -> NDArray[np.int64]:
        """What every voxel holds, (slices, rows, cols): its place along ``axis`` and its mark.

        The first of each slice is 0, so that what a converter adds as air is no place.
        """
        places = (self.places_mm()[..., axis] - LOWEST_MM) * PER_MM
        values = np.rint(places).astype(np.int64) + BAND * mark
        values[:, 0, 0] = 0
        return values


@dataclass(frozen=True)
class OddSeries:
    """A series: ``files`` yields names and bytes with the places along one axis in the pixels.

    ``says``: what is odd about it. ``tolerance_mm``: how far a voxel may lie from its place.
    ``absent``: by scan the slices whose files are not there.
    """

    name: str
    says: str
    scans: tuple[Scan, ...]
    files: Callable[[int], Files]
    plane: str = "sagittal"
    tolerance_mm: float = 0.1
    absent: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def write(self, folder: Path, axis: int) -> None:
        """Write the files that hold places along ``axis`` (0, 1, 2) to the new ``folder``."""
        folder.mkdir(parents=True)
        for name, data in self.files(axis):
            (folder / name).write_bytes(data)


def line(count: int, step: Iterable[float], first: Iterable[float]) -> NDArray[np.float64]:
    """First pixels (count, 3) of slices in equal steps."""
    return np.array([*first], float) + np.arange(count)[:, None] * np.array([*step], float)


def sagittal_firsts(count: int = 15, step: float = 4.0, start: int = 0) -> NDArray[np.float64]:
    """Slices from the patient's right to left."""
    return line(count, (step, 0, 0), (-28.0 + start * step, -10.0, 12.0))


def axial_firsts(count: int, lowest_mm: float, step: float = 4.0) -> NDArray[np.float64]:
    """Slices from feet to head."""
    return line(count, (0, 0, step), (-12.0, -14.0, lowest_mm))


def header(scan: Scan, number: int, series: str = "1") -> Dataset:
    """What a slice and a multi-frame file of a scan share, without pixels and places."""
    data = Dataset()
    data.SOPClassUID = MR_IMAGE
    data.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.826.1.1", f"1.2.826.1.2.{series}"
    data.SOPInstanceUID = f"1.2.826.1.3.{series}.{number}"
    data.FrameOfReferenceUID = "1.2.826.1.4"
    data.Modality, data.Manufacturer, data.PatientPosition = "MR", "none", "HFS"
    data.PatientID = data.PatientName = "phantom"
    data.StudyID, data.SeriesNumber, data.InstanceNumber = "1", series, str(number)
    data.ScanningSequence, data.SequenceVariant, data.MRAcquisitionType = "SE", "NONE", "2D"
    data.RepetitionTime, data.EchoTime, data.EchoTrainLength = "600", "10", "1"
    data.AcquisitionDate = data.ContentDate = "20200101"
    data.AcquisitionTime = data.ContentTime = "101500"
    data.AcquisitionNumber, data.SliceThickness = "1", "4"
    describe_pixels(data, (scan.rows, scan.cols), (16, 14, False))
    return data


def slice_of(
    scan: Scan,
    place: int,
    number: int,
    series: str = "1",
    firsts_mm: NDArray[np.float64] | None = None,
    decimals: int | None = None,
    **elements: Any,
) -> Dataset:
    """The header of one slice. ``firsts_mm``, ``decimals``: what is written of its place."""
    data = header(scan, number, series)
    first = (scan.firsts_mm if firsts_mm is None else firsts_mm)[place]
    data.ImagePositionPatient = (
        [decimal(value) for value in first]
        if decimals is None
        else [f"{value:.{decimals}f}" for value in first]
    )
    data.ImageOrientationPatient = [decimal(value) for value in scan.axes_of(place)]
    data.PixelSpacing = [decimal(value) for value in scan.spacing_mm]
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


def packed(data: Dataset, pixels: NDArray[np.int64], codec: str | None = None) -> bytes:
    """The file of a header and its pixels, (rows, cols) or (frames, rows, cols)."""
    frames = pixels if pixels.ndim == 3 else pixels[None]
    syntax = add_pixels(data, list(frames), codec)
    return file_bytes(data, syntax or PLAIN)


def slices(
    scan: Scan,
    axis: int,
    mark: int = 0,
    numbers: Iterable[int] | None = None,
    without: Iterable[int] = (),
    codec: str | None = None,
    prefix: str = "",
    **how: Any,
) -> Files:
    """A file a slice, numbered from 1 in the order of ``firsts_mm``, some left ``without``."""
    values = scan.values(axis, mark)
    numbered = list(numbers or range(1, len(values) + 1))
    for place, number in enumerate(numbered):
        if place not in set(without):
            data = slice_of(scan, place, number, **how)
            yield f"{prefix}{number}.dcm", packed(data, values[place], codec)


def several(name: str, says: str, scans: tuple[Scan, ...], *how: dict[str, Any]) -> OddSeries:
    """A series of single slices of several scans; ``how`` each is written."""

    def files(axis: int) -> Files:
        for mark, (scan, options) in enumerate(zip(scans, how, strict=True)):
            yield from slices(scan, axis, mark, **options)

    plane = "sagittal" if tuple(np.ravel(scans[0].axes)[:6]) != AXIAL else "axial"
    absent = {mark: tuple(one["without"]) for mark, one in enumerate(how) if "without" in one}
    return OddSeries(name, says, scans, files, plane, absent=absent)


def after(count: int, many: int) -> range:
    """Numbers of ``many`` slices that follow ``count``."""
    return range(count + 1, count + many + 1)


def item(**elements: Any) -> list[Dataset]:
    """A sequence of one item."""
    data = Dataset()
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return [data]


@dataclass(frozen=True)
class EnhancedFrame:
    """One frame of a multi-frame file: a slice of a scan with functional groups of its own."""

    mark: int
    place: int
    groups: dict[str, Any] = field(default_factory=dict)


def enhanced(
    scans: tuple[Scan, ...],
    frames: list[EnhancedFrame],
    axis: int,
    number: int = 1,
    pixels: NDArray[np.int64] | None = None,
    **elements: Any,
) -> Dataset:
    """An enhanced MR object whose frames lie as listed, with its pixels."""
    data = header(scans[0], number, elements.pop("series", "1"))
    data.SOPClassUID = ENHANCED_MR
    for keyword in ("SliceThickness", "RepetitionTime", "EchoTime", "AcquisitionNumber"):
        delattr(data, keyword)
    data.NumberOfFrames = str(len(frames))
    spacing = [decimal(value) for value in scans[0].spacing_mm]
    data.SharedFunctionalGroupsSequence = item(
        PixelMeasuresSequence=item(PixelSpacing=spacing, SliceThickness="4"),
        PlaneOrientationSequence=item(
            ImageOrientationPatient=[decimal(value) for value in scans[0].axes_of(0)]
        ),
    )
    organisation = "1.2.826.1.6"
    data.DimensionOrganizationSequence = item(DimensionOrganizationUID=organisation)
    # Stack, position in the stack, echo time; each with the functional group that holds it.
    data.DimensionIndexSequence = [
        one
        for pointer, group in zip(_POINTERS, _POINTED_GROUPS, strict=True)
        for one in item(
            DimensionOrganizationUID=organisation,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=group,
        )
    ]
    groups = []
    for frame in frames:
        first = [decimal(value) for value in scans[frame.mark].firsts_mm[frame.place]]
        content = item(
            StackID="1",
            InStackPositionNumber=frame.place + 1,
            DimensionIndexValues=[1, frame.place + 1, frame.mark + 1],
        )
        places = item(ImagePositionPatient=first)
        groups += item(
            **{"PlanePositionSequence": places, "FrameContentSequence": content} | frame.groups
        )
    data.PerFrameFunctionalGroupsSequence = groups
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    if pixels is None:
        values = [scan.values(axis, mark) for mark, scan in enumerate(scans)]
        pixels = np.array([values[frame.mark][frame.place] for frame in frames])
    add_pixels(data, list(pixels))
    return data
