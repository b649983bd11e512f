"""What conversion needs of a DICOM file: where its slices lie and how their pixels are stored.

Headers may be as bare as those of the RSNA 2024 studies (no Modality, SOPInstanceUID
repeated): nothing but geometry and the pixel description is asked for. No text that could
name a patient is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinegrade.convert.elements import Elements, parse
from spinegrade.convert.refusals import Refused
from spinegrade.geometry.stacks import check_orientation, unit_orientation

IMAGE_TYPE = 0x00080008
MOSAIC = b"MOSAIC"
INSTANCE_NUMBER = 0x00200013
POSITION = 0x00200032
ORIENTATION = 0x00200037
PIXEL_SPACING = 0x00280030
SPACING_BETWEEN_SLICES = 0x00180088
SLICE_THICKNESS = 0x00180050
SAMPLES = 0x00280002
PHOTOMETRIC = 0x00280004
NUMBER_OF_FRAMES = 0x00280008
ROWS = 0x00280010
COLUMNS = 0x00280011
BITS_ALLOCATED = 0x00280100
BITS_STORED = 0x00280101
REPRESENTATION = 0x00280103
RESCALE_INTERCEPT = 0x00281052
RESCALE_SLOPE = 0x00281053
GRADIENT_DIRECTIONS = 0x00189076
SHARED_GROUPS = 0x52009229
PER_FRAME_GROUPS = 0x52009230
PIXEL_DATA = 0x7FE00010

# Tags that tell volumes at the same positions apart (time points, echoes, diffusion
# weightings), the most telling first.
VOLUME_TAGS = {
    0x00180081: "EchoTime",
    0x00180086: "EchoNumbers",
    0x00200100: "TemporalPositionIdentifier",
    0x00209128: "TemporalPositionIndex",
    0x00189087: "DiffusionBValue",
    0x00189089: "DiffusionGradientOrientation",
    0x00180082: "InversionTime",
    0x00181060: "TriggerTime",
    0x00080008: "ImageType",
    0x00200012: "AcquisitionNumber",
    0x00080032: "AcquisitionTime",
    0x0020000E: "SeriesInstanceUID",
}


@dataclass(frozen=True)
class PixelFormat:
    """How the frames of one file are stored.

    ``compressed``: in fragments, in the transfer syntax ``syntax``; else plain numbers.
    ``data`` is the value of PixelData.
    """

    rows: int
    cols: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    inverted: bool
    colour: str
    syntax: str
    big_endian: bool
    compressed: bool
    data: memoryview = field(repr=False)


@dataclass(frozen=True)
class Frame:
    """One slice: a file, or one frame of a multi-frame file (``number`` counts from 0).

    ``orientation`` (6,), unit axes; ``position_mm`` (3,), LPS mm of the first pixel's centre;
    ``spacing_mm`` (2,), between rows and between columns; ``step_mm``, what the header says
    of the distance between slices (0: nothing). ``tags`` are raw values of VOLUME_TAGS.
    """

    file: str
    number: int
    instance_number: int
    pixels: PixelFormat
    orientation: NDArray[np.float64]
    position_mm: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]
    step_mm: float
    slope: float
    intercept: float
    tags: dict[int, bytes]


def read_frames(path: Path, max_frame_mb: float) -> list[Frame]:
    """The slices of one DICOM file, pixels still as stored.

    Raises Refused, and nothing else, for whatever the file may hold. A file of more than
    eight times ``max_frame_mb``, or that would inflate to it, is refused.
    """
    greatest = int(8 * max_frame_mb * 2**20)
    try:
        if path.stat().st_size > greatest:
            raise Refused("TOO_LARGE", f"the file has {path.stat().st_size / 2**20:.0f} MB")
        data = path.read_bytes()
    except OSError as error:
        raise Refused("NOT_AN_IMAGE", f"the file cannot be read ({error.strerror})") from error
    elements, syntax = parse(data, greatest)
    if ROWS not in elements.values and PIXEL_DATA not in elements.values:
        if elements.cut and data[128:132] == b"DICM":
            raise Refused("TRUNCATED", "the file ends inside its header")
        raise Refused("NOT_AN_IMAGE", "neither rows nor pixel data: no DICOM image")
    pixels = _pixel_format(elements, syntax, max_frame_mb)
    if MOSAIC in (elements.raw(IMAGE_TYPE) or b""):
        raise Refused("MOSAIC", "the image type says MOSAIC: slices side by side in one image")
    instance = elements.number(INSTANCE_NUMBER, -1.0, "InstanceNumber")
    if instance < 0:
        instance = float(path.stem) if path.stem.isascii() and path.stem.isdigit() else 0.0
    single = pixels.frames == 1
    return [
        _frame(path.name, number, int(instance) if single else number + 1, pixels, part)
        for number, part in enumerate(_frame_parts(elements, pixels.frames))
    ]


def _pixel_format(elements: Elements, syntax: str, max_frame_mb: float) -> PixelFormat:
    rows = elements.whole(ROWS, None, "Rows")
    cols = elements.whole(COLUMNS, None, "Columns")
    frames = int(elements.number(NUMBER_OF_FRAMES, 1.0, "NumberOfFrames"))
    allocated = elements.whole(BITS_ALLOCATED, 16, "BitsAllocated")
    stored = elements.whole(BITS_STORED, allocated, "BitsStored")
    data = elements.view(PIXEL_DATA)
    if data is None:
        if elements.cut:
            raise Refused("TRUNCATED", "the file ends before its pixel data")
        raise Refused("NO_PIXELS", "there is no pixel data in the file")
    if rows < 1 or cols < 1 or frames < 1 or not 1 <= stored <= allocated:
        raise Refused(
            "BAD_HEADER",
            f"{rows} rows, {cols} columns, {frames} frames, {stored} of {allocated} bits",
        )
    size_mb = rows * cols * ((allocated + 7) // 8) / 2**20
    if size_mb > max_frame_mb:
        raise Refused("TOO_LARGE", f"one frame of {rows} x {cols} needs {size_mb:.0f} MB")
    photometric = elements.text(PHOTOMETRIC)
    return PixelFormat(
        rows=rows,
        cols=cols,
        frames=frames,
        samples=elements.whole(SAMPLES, 1, "SamplesPerPixel"),
        bits_allocated=allocated,
        bits_stored=stored,
        signed=elements.whole(REPRESENTATION, 0, "PixelRepresentation") == 1,
        inverted=photometric == "MONOCHROME1",
        colour="" if photometric in ("MONOCHROME1", "MONOCHROME2", "") else photometric[:16],
        syntax=syntax,
        big_endian=not elements.encoding.little,
        # What lies there counts, not what is declared: some files declare a compression
        # that their plain pixels do not have.
        compressed=elements.has_fragments(PIXEL_DATA),
        data=data,
    )


def _frame_parts(elements: Elements, frames: int) -> list[list[Elements]]:
    """For each frame the datasets that describe it, the most particular first."""
    per_frame = elements.items(PER_FRAME_GROUPS)
    if not per_frame:
        if frames > 1:
            raise Refused("NO_GEOMETRY", f"{frames} frames without a position for each")
        return [[elements]]
    if len(per_frame) != frames:
        raise Refused(
            "BAD_HEADER", f"{frames} frames, but {len(per_frame)} per-frame functional groups"
        )
    shared = _group_items(elements.items(SHARED_GROUPS))
    return [[*_group_items([group]), *shared, elements] for group in per_frame]


def _group_items(groups: list[Elements]) -> list[Elements]:
    """The datasets inside the functional groups: the first item of each, one level deep."""
    return [item for group in groups for tag in group.sequences() for item in group.items(tag)[:1]]


def _first(parts: list[Elements], tag: int, count: int, name: str) -> list[float] | None:
    for part in parts:
        found = part.numbers(tag, count, name)
        if found is not None:
            return found
    return None


def _frame(
    file: str, number: int, instance: int, pixels: PixelFormat, parts: list[Elements]
) -> Frame:
    orientation = _first(parts, ORIENTATION, 6, "ImageOrientationPatient")
    position = _first(parts, POSITION, 3, "ImagePositionPatient")
    spacing = _first(parts, PIXEL_SPACING, 2, "PixelSpacing")
    if orientation is None or position is None or spacing is None:
        absent = [
            name
            for name, value in (
                ("ImageOrientationPatient", orientation),
                ("ImagePositionPatient", position),
                ("PixelSpacing", spacing),
            )
            if value is None
        ]
        raise Refused("NO_GEOMETRY", f"{', '.join(absent)} missing")
    problem = check_orientation(orientation)
    if problem:
        raise Refused("BAD_HEADER", problem)
    if min(spacing) <= 0:
        raise Refused("BAD_HEADER", f"PixelSpacing is {spacing}")
    step = _first(parts, SPACING_BETWEEN_SLICES, 1, "SpacingBetweenSlices")
    if step is None or step[0] == 0:
        step = _first(parts, SLICE_THICKNESS, 1, "SliceThickness")
    slope = _first(parts, RESCALE_SLOPE, 1, "RescaleSlope")
    intercept = _first(parts, RESCALE_INTERCEPT, 1, "RescaleIntercept")
    return Frame(
        file=file,
        number=number,
        instance_number=instance,
        pixels=pixels,
        orientation=unit_orientation(np.array(orientation)),
        position_mm=np.array(position),
        spacing_mm=np.array(spacing),
        step_mm=0.0 if step is None else abs(step[0]),
        # A slope of zero would erase the image; it means "not set" in the files that have it.
        slope=1.0 if slope is None or slope[0] == 0 else slope[0],
        intercept=0.0 if intercept is None else intercept[0],
        tags=_volume_tags(parts),
    )


def _volume_tags(parts: list[Elements]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for part in reversed(parts):
        for tag in VOLUME_TAGS:
            value = part.raw(tag) if tag in part.values else None
            if value is not None:
                found[tag] = value
    return found
