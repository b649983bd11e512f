"""What conversion needs of a DICOM file: where its slices lie and how their pixels are stored.

Headers may be as bare as those of the RSNA 2024 studies (no Modality, SOPInstanceUID
repeated): nothing but geometry and the pixel description is asked for. No text that could
name a patient is read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinegrade.convert import tags
from spinegrade.convert.elements import DEFLATED, Elements, parse
from spinegrade.convert.fragments import check_lengths
from spinegrade.convert.mosaic import is_mosaic, split_mosaic, tile_position
from spinegrade.convert.no_image import no_image
from spinegrade.convert.pixel_format import PixelFormat, read_pixel_format
from spinegrade.convert.refusals import Refused
from spinegrade.geometry.stacks import check_orientation, unit_orientation

# Enough for the header of a single slice; longer ones are read whole.
_HEAD_BYTES = 16 * 1024
_GREATEST_INSTANCE = 2**31 - 1
# Beyond these a number is no place, distance or scale of an image of a person; tables, NIfTI's
# single precision and arithmetic are safe within them.
_PLACE_MM, _SPACING_MM, _STEP_MM = (-1e5, 1e5), (1e-3, 1e3), (-1e4, 1e4)
_SCALE = (-1e12, 1e12)
_LEAST_SLOPE = 1e-20
_MOST_DIMENSIONS = 16


@dataclass(frozen=True)
class Frame:
    """One slice: a file, or one frame or tile of a file (``number`` counts from 0).

    ``orientation`` (6,), unit axes; ``position_mm`` (3,), LPS mm of the first pixel's centre;
    ``spacing_mm`` (2,), between rows and between columns; ``step_mm``, what the header says
    of the distance between slices (0: nothing). ``tags`` are raw values of IDENTITY_TAGS,
    ``study_uid`` and ``frame_of_reference`` the raw StudyInstanceUID and FrameOfReferenceUID
    (b"" where absent). None of the three leaves the room.
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
    study_uid: bytes
    frame_of_reference: bytes


class _Uids(NamedTuple):
    """Raw identifiers that all frames of a file share."""

    study: bytes
    frame_of_reference: bytes


def read_frames(path: Path, max_frame_mb: float) -> list[Frame]:
    """The slices of one DICOM file, pixels still as stored.

    Raises Refused, and nothing else, for whatever the file may hold. A file of more than
    eight times ``max_frame_mb``, or that would inflate to it, is refused.
    """
    data = _read(path, _file_bytes(path, max_frame_mb))
    elements, syntax = parse(data, _greatest(max_frame_mb))
    value = elements.values.get(tags.PIXEL_DATA)
    place = None if value is None else (value.start, value.length)
    return _frames(path, elements, syntax, place, False, max_frame_mb)


def read_headers(path: Path, max_frame_mb: float) -> list[Frame]:
    """The slices of one DICOM file without their pixels, from the file's first bytes.

    As ``read_frames``, with the same refusals as far as a header shows them; the length of
    the pixel data is judged by the file's size. Pixels of such frames raise PixelsNotRead.
    """
    size = _file_bytes(path, max_frame_mb)
    data = _read(path, min(size, _HEAD_BYTES))
    place = None
    elements, syntax = parse(data, _greatest(max_frame_mb))
    value = elements.values.get(tags.PIXEL_DATA)
    if size > len(data) and (value is None or value.vr in (b"US", b"SS") or syntax == DEFLATED):
        data = _read(path, size)
        elements, syntax = parse(data, _greatest(max_frame_mb))
        value = elements.values.get(tags.PIXEL_DATA)
        place = None if value is None else (value.start, value.length)
    elif value is not None:
        # The walk has clipped the length to what was read; the declared one stands before.
        order = "little" if elements.encoding.little else "big"
        declared = int.from_bytes(elements.data[value.start - 4 : value.start], order)
        length = declared if value.start + value.length >= len(elements.data) else value.length
        place = value.start, min(length, max(size, len(elements.data)) - value.start)
    frames = _frames(path, elements, syntax, place, True, max_frame_mb)
    if place and frames[0].pixels.compressed and frames[0].pixels.frames == 1:
        check_lengths(elements.view(tags.PIXEL_DATA) or memoryview(b""), place[1])
    return frames


def _greatest(max_frame_mb: float) -> int:
    return int(8 * max_frame_mb * 2**20)


def _file_bytes(path: Path, max_frame_mb: float) -> int:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise Refused("UNREADABLE", f"the file cannot be opened ({error.strerror})") from error
    if size > _greatest(max_frame_mb):
        raise Refused("TOO_LARGE", f"the file has {size / 2**20:.0f} MB")
    return size


def _read(path: Path, size: int) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(file, size)
        finally:
            os.close(file)
    except OSError as error:
        raise Refused("UNREADABLE", f"the file cannot be read ({error.strerror})") from error


def _frames(
    path: Path,
    elements: Elements,
    syntax: str,
    place: tuple[int, int] | None,
    headers_only: bool,
    max_frame_mb: float,
) -> list[Frame]:
    if tags.ROWS not in elements.values and tags.PIXEL_DATA not in elements.values:
        raise no_image(elements)
    pixels = read_pixel_format(elements, syntax, place, headers_only, max_frame_mb)
    instance = elements.number(tags.INSTANCE_NUMBER, -1.0, "InstanceNumber")
    if instance > _GREATEST_INSTANCE:
        raise Refused("BAD_HEADER", "InstanceNumber is beyond 32 bits")
    if instance < 0:
        named = path.stem.isascii() and path.stem.isdigit() and len(path.stem) < 10
        instance = float(path.stem) if named else 0.0
    uids = _Uids(*(_uid(elements, tag) for tag in (tags.STUDY_UID, tags.FRAME_OF_REFERENCE)))
    if pixels.frames == 1 and is_mosaic(elements):
        return _tiles(_frame(path.name, 0, int(instance), pixels, [elements], uids), elements)
    single = pixels.frames == 1
    return [
        _frame(path.name, number, int(instance) if single else number + 1, pixels, part, uids)
        for number, part in enumerate(_frame_parts(elements, pixels.frames))
    ]


def _uid(elements: Elements, tag: int) -> bytes:
    return (elements.raw(tag) or b"").strip(b" \0")


def _tiles(sheet: Frame, elements: Elements) -> list[Frame]:
    """The slices of a mosaic, all with the instance number of their file."""
    pixels, normal, count = split_mosaic(elements, sheet.pixels)
    if count > 1 and sheet.step_mm <= 0:
        raise Refused("NO_GEOMETRY", "the mosaic does not say how far apart its slices are")
    return [
        replace(
            sheet,
            number=number,
            pixels=pixels,
            position_mm=tile_position(
                number,
                pixels,
                sheet.orientation,
                sheet.position_mm,
                sheet.spacing_mm,
                sheet.step_mm * normal,
            ),
        )
        for number in range(count)
    ]


def _frame_parts(elements: Elements, frames: int) -> list[list[Elements]]:
    """For each frame the datasets that describe it, the most particular first."""
    per_frame = elements.items(tags.PER_FRAME_GROUPS)
    if not per_frame:
        if frames > 1:
            raise Refused("NO_GEOMETRY", f"{frames} frames without a position for each")
        return [[elements]]
    if len(per_frame) != frames:
        raise Refused(
            "BAD_HEADER", f"{frames} frames, but {len(per_frame)} per-frame functional groups"
        )
    shared = _group_items(elements.items(tags.SHARED_GROUPS))
    return [[*_group_items([group]), *shared, elements] for group in per_frame]


def _group_items(groups: list[Elements], depth: int = 2) -> list[Elements]:
    """The datasets inside the functional groups: the first item of each, two levels deep.

    The second level holds the direction of a diffusion gradient.
    """
    inner = [item for group in groups for tag in group.sequences() for item in group.items(tag)[:1]]
    return [*inner, *_group_items(inner, depth - 1)] if depth > 1 and inner else inner


def _first(parts: list[Elements], tag: int, count: int, name: str) -> list[float] | None:
    for part in parts:
        found = part.numbers(tag, count, name)
        if found is not None:
            return found
    return None


def _frame(
    file: str,
    number: int,
    instance: int,
    pixels: PixelFormat,
    parts: list[Elements],
    uids: _Uids,
) -> Frame:
    orientation = _first(parts, tags.ORIENTATION, 6, "ImageOrientationPatient")
    position = _first(parts, tags.POSITION, 3, "ImagePositionPatient")
    spacing = _first(parts, tags.PIXEL_SPACING, 2, "PixelSpacing")
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
    _within(position, _PLACE_MM, "ImagePositionPatient")
    _within(spacing, _SPACING_MM, "PixelSpacing")
    axes = _unit_axes(tuple(orientation))
    if isinstance(axes, str):
        raise Refused("BAD_HEADER", axes)
    step = _first(parts, tags.SPACING_BETWEEN_SLICES, 1, "SpacingBetweenSlices")
    if step is None or step[0] == 0:
        step = _first(parts, tags.SLICE_THICKNESS, 1, "SliceThickness")
    _within(step, _STEP_MM, "SpacingBetweenSlices or SliceThickness")
    slope = _first(parts, tags.RESCALE_SLOPE, 1, "RescaleSlope")
    intercept = _first(parts, tags.RESCALE_INTERCEPT, 1, "RescaleIntercept")
    _within(slope, _SCALE, "RescaleSlope")
    _within(intercept, _SCALE, "RescaleIntercept")
    return Frame(
        file=file,
        number=number,
        instance_number=instance,
        pixels=pixels,
        orientation=axes,
        position_mm=np.array(position),
        spacing_mm=np.array(spacing),
        step_mm=0.0 if step is None or abs(step[0]) < _SPACING_MM[0] else abs(step[0]),
        # A slope of zero would erase the image; it means "not set" in the files that have it.
        slope=1.0 if slope is None or abs(slope[0]) < _LEAST_SLOPE else slope[0],
        intercept=0.0 if intercept is None else intercept[0],
        tags=_identity_tags(parts),
        study_uid=uids.study,
        frame_of_reference=uids.frame_of_reference,
    )


def _within(values: list[float] | None, limits: tuple[float, float], name: str) -> None:
    """Raise Refused BAD_HEADER where a number lies outside ``limits``."""
    low, high = limits
    if values is not None and not all(low <= value <= high for value in values):
        raise Refused("BAD_HEADER", f"{name} is not between {low:g} and {high:g}")


@lru_cache(maxsize=1024)
def _unit_axes(orientation: tuple[float, ...]) -> NDArray[np.float64] | str:
    """The unit axes (6,), read-only, or what is wrong; slices of a stack share one."""
    problem = check_orientation(orientation)
    if problem:
        return problem
    axes = unit_orientation(np.array(orientation))
    axes.flags.writeable = False
    return axes


def _identity_tags(parts: list[Elements]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for part in reversed(parts):
        for tag in tags.IDENTITY_TAGS.keys() & part.values.keys():
            value = part.raw(tag)
            if value is None:
                continue
            if tag == tags.DIMENSION_INDEX:
                for start in range(0, min(len(value), 4 * _MOST_DIMENSIONS), 4):
                    found[tags.dimension_tag(start // 4)] = value[start : start + 4]
            elif tag in tags.PRESENCE_TAGS:
                found[tag] = b"1"
            else:
                found[tag] = value if tag in tags.BINARY_TAGS else value.strip(b" \0")
    return found
