"""What conversion needs of a DICOM file: where its slices lie and how their pixels are stored.

Headers may be as bare as those of the RSNA 2024 studies (no Modality, SOPInstanceUID
repeated): nothing but geometry and the pixel description is asked for. No text that could
name a patient is read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from spinegrade.convert.refusals import Refused
from spinegrade.geometry.stacks import check_orientation, unit_orientation

# Values are parsed here, from their bytes; pydicom's own checks of every value cost more
# than the parsing and would warn about each odd file.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

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
    """How the frames of one file are stored. ``data`` are the bytes of PixelData."""

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
    data: bytes = field(repr=False)


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
    tags: dict[int, bytes | str]


class Elements:
    """Values of a dataset parsed from their raw bytes, which spares pydicom's conversion."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def raw(self, tag: int) -> Any:
        """The stored value of ``tag``: bytes as a rule, None where absent or empty."""
        if tag not in self.dataset:
            return None
        value = self.dataset.get_item(tag).value
        return None if value is None or value == b"" else value

    def numbers(self, tag: int, count: int) -> NDArray[np.float64] | None:
        """``count`` decimal numbers; None where absent. Raises Refused for anything else."""
        value = self.raw(tag)
        if value is None:
            return None
        try:
            if isinstance(value, bytes):
                parts = [float(part) for part in value.rstrip(b" \0").split(b"\\")]
            else:
                parts = [float(part) for part in np.atleast_1d(value)]
        except (TypeError, ValueError) as error:
            raise Refused("BAD_HEADER", f"{_name(tag)} is {value[:40]!r}") from error
        if len(parts) < count or not np.isfinite(parts).all():
            raise Refused("BAD_HEADER", f"{_name(tag)} is {value!r:.60}, expected {count} numbers")
        return np.array(parts[:count])

    def number(self, tag: int, default: float) -> float:
        """One decimal number; ``default`` where absent."""
        found = self.numbers(tag, 1)
        return default if found is None else float(found[0])

    def whole(self, tag: int, default: int | None = None) -> int:
        """One number of VR US; ``default`` where absent. Raises Refused where that is None."""
        value = self.raw(tag)
        if value is None:
            if default is None:
                raise Refused("BAD_HEADER", f"{_name(tag)} is missing")
            return default
        if isinstance(value, bytes):
            if len(value) not in (2, 4):
                raise Refused("BAD_HEADER", f"{_name(tag)} has {len(value)} bytes, expected 2")
            order = "big" if _big_endian(self.dataset) else "little"
            return int.from_bytes(value, order)
        return int(value)

    def text(self, tag: int) -> str:
        """A code string without padding, "" where absent."""
        value = self.raw(tag)
        if isinstance(value, bytes):
            value = value.decode("ascii", "replace")
        return "" if value is None else str(value).strip(" \0")


def _big_endian(dataset: Dataset) -> bool:
    return dataset.original_encoding[1] is False


def _name(tag: int) -> str:
    return pydicom.datadict.keyword_for_tag(tag) or f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


def read_frames(path: Path, max_frame_mb: float) -> list[Frame]:
    """The slices of one DICOM file, pixels still as stored.

    Raises Refused, and nothing else, for whatever the file may hold.
    """
    try:
        dataset = pydicom.dcmread(path, force=True)
        return _frames(path, dataset, max_frame_mb)
    except Refused:
        raise
    except (EOFError, struct.error) as error:
        raise Refused("TRUNCATED", f"the file ends early: {_plain(error)}") from error
    except (InvalidDicomError, OSError) as error:
        raise Refused("NOT_AN_IMAGE", f"not readable as DICOM: {_plain(error)}") from error
    except Exception as error:
        # A damaged file can make the parser fail in any way; one file must not stop a shard.
        raise Refused("BAD_HEADER", f"{type(error).__name__}: {_plain(error)}") from error


def _plain(error: Exception) -> str:
    """An exception's words without what they may quote from the file."""
    return type(error).__name__ if isinstance(error, UnicodeError) else f"{error}"[:120]


def _frames(path: Path, dataset: Dataset, max_frame_mb: float) -> list[Frame]:
    elements = Elements(dataset)
    if 0x00280010 not in dataset and 0x7FE00010 not in dataset:
        raise Refused("NOT_AN_IMAGE", "neither rows nor pixel data: no DICOM image")
    pixels = _pixel_format(elements, max_frame_mb)
    instance = elements.number(0x00200013, -1.0)
    if instance < 0:
        instance = float(path.stem) if path.stem.isascii() and path.stem.isdigit() else 0.0
    parts = _frame_parts(dataset, pixels.frames)
    return [
        _frame(path.name, number, int(instance) if pixels.frames == 1 else number + 1, pixels, part)
        for number, part in enumerate(parts)
    ]


def _pixel_format(elements: Elements, max_frame_mb: float) -> PixelFormat:
    dataset = elements.dataset
    rows, cols = elements.whole(0x00280010), elements.whole(0x00280011)
    frames = int(elements.number(0x00280008, 1.0))
    allocated = elements.whole(0x00280100, 16)
    stored = elements.whole(0x00280101, allocated)
    data = elements.raw(0x7FE00010)
    if data is None:
        raise Refused("NO_PIXELS", "there is no pixel data in the file")
    if rows < 1 or cols < 1 or frames < 1 or not 1 <= stored <= allocated:
        raise Refused(
            "BAD_HEADER",
            f"{rows} rows, {cols} columns, {frames} frames, {stored} of {allocated} bits",
        )
    size_mb = rows * cols * ((allocated + 7) // 8) / 2**20
    if size_mb > max_frame_mb:
        raise Refused("TOO_LARGE", f"one frame of {rows} x {cols} needs {size_mb:.0f} MB")
    meta = getattr(dataset, "file_meta", None)
    syntax = str(getattr(meta, "TransferSyntaxUID", "") or "")
    photometric = elements.text(0x00280004)
    return PixelFormat(
        rows=rows,
        cols=cols,
        frames=frames,
        samples=elements.whole(0x00280002, 1),
        bits_allocated=allocated,
        bits_stored=stored,
        signed=elements.whole(0x00280103, 0) == 1,
        inverted=photometric == "MONOCHROME1",
        colour="" if photometric in ("MONOCHROME1", "MONOCHROME2", "") else photometric,
        syntax=syntax,
        big_endian=_big_endian(dataset),
        data=data,
    )


def _frame_parts(dataset: Dataset, frames: int) -> list[list[Elements]]:
    """For each frame the datasets that describe it, the most particular first."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if not per_frame:
        if frames > 1:
            raise Refused("NO_GEOMETRY", f"{frames} frames without a position for each")
        return [[Elements(dataset)]]
    if len(per_frame) != frames:
        raise Refused(
            "BAD_HEADER", f"{frames} frames, but {len(per_frame)} per-frame functional groups"
        )
    shared = _group_items(dataset.get("SharedFunctionalGroupsSequence") or [])
    top = Elements(dataset)
    return [[*_group_items([group]), *shared, top] for group in per_frame]


def _group_items(groups: Any) -> list[Elements]:
    """The datasets inside the functional groups, one level deep."""
    found = []
    for group in groups:
        for element in group:
            if element.VR == "SQ" and len(element.value or []) > 0:
                found.append(Elements(element.value[0]))
    return found


def _first(parts: list[Elements], tag: int, count: int) -> NDArray[np.float64] | None:
    for part in parts:
        found = part.numbers(tag, count)
        if found is not None:
            return found
    return None


def _frame(
    file: str, number: int, instance: int, pixels: PixelFormat, parts: list[Elements]
) -> Frame:
    orientation = _first(parts, 0x00200037, 6)
    position = _first(parts, 0x00200032, 3)
    spacing = _first(parts, 0x00280030, 2)
    absent = [
        name
        for name, value in (
            ("ImageOrientationPatient", orientation),
            ("ImagePositionPatient", position),
            ("PixelSpacing", spacing),
        )
        if value is None
    ]
    if orientation is None or position is None or spacing is None:
        raise Refused("NO_GEOMETRY", f"{', '.join(absent)} missing")
    problem = check_orientation(orientation)
    if problem:
        raise Refused("BAD_HEADER", problem)
    if spacing.min() <= 0:
        raise Refused("BAD_HEADER", f"PixelSpacing is {spacing.tolist()}")
    step = _first(parts, 0x00180088, 1)
    if step is None or step[0] == 0:
        step = _first(parts, 0x00180050, 1)
    slope = _first(parts, 0x00281053, 1)
    intercept = _first(parts, 0x00281052, 1)
    return Frame(
        file=file,
        number=number,
        instance_number=instance,
        pixels=pixels,
        orientation=unit_orientation(orientation),
        position_mm=position,
        spacing_mm=spacing,
        step_mm=0.0 if step is None else abs(float(step[0])),
        # A slope of zero would erase the image; it means "not set" in the files that have it.
        slope=1.0 if slope is None or slope[0] == 0 else float(slope[0]),
        intercept=0.0 if intercept is None else float(intercept[0]),
        tags=_volume_tags(parts),
    )


def _volume_tags(parts: list[Elements]) -> dict[int, bytes | str]:
    found: dict[int, bytes | str] = {}
    for part in reversed(parts):
        for tag in VOLUME_TAGS:
            value = part.raw(tag)
            if value is not None:
                found[tag] = value if isinstance(value, bytes) else str(value)
    return found
