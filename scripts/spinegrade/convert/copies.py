"""Slices that are there twice: equal in position and in decoded pixels, whatever their coding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinegrade.convert.header import Frame
from spinegrade.convert.pixels import decode_stored, frame_bytes, stored_dtype
from spinegrade.convert.refusals import Refused
from spinegrade.convert.tags import ACQUISITION_TAGS

Places = list[NDArray[np.int64]]
Key = tuple[object, ...]


def find_copies(frames: list[Frame], places: Places) -> dict[int, int]:
    """For each slice that repeats another of its position, that one: places in ``frames``.

    ``places``: the slices at each position. Of equal ones the lowest instance number stays.
    Raises PixelsNotRead where the pixels were left in the files. A SOPInstanceUID is not
    asked: it proves nothing, since real data repeat it in slices that differ.
    """
    copies: dict[int, int] = {}
    for place in places:
        if len(place) < 2:
            continue
        members = sorted(place.tolist(), key=lambda p: (frames[p].instance_number, frames[p].file))
        first_stored: dict[Key, int] = {}
        for member in members:
            kept = first_stored.setdefault(_stored_key(frames[member]), member)
            if kept != member:
                copies[member] = kept
        distinct = list(first_stored.values())
        first_decoded: dict[Key, int] = {}
        for member in distinct if _coding_may_differ(frames, distinct) else []:
            kept = first_decoded.setdefault(_decoded_key(frames[member]), member)
            if kept != member:
                copies[member] = kept
        for member, kept in copies.items():
            copies[member] = copies.get(kept, kept)
    return copies


def undecodable(frames: list[Frame], members: list[int]) -> dict[int, Refused]:
    """Why slices cannot be decoded, for those of ``members``, places in ``frames``, that cannot."""
    found = {}
    for member in members:
        try:
            _decoded(frames[member])
        except Refused as refused:
            found[member] = refused
    return found


def _decoded(frame: Frame) -> NDArray[np.generic]:
    pixels = frame.pixels
    shape = pixels.stored_shape
    values = np.empty(shape, stored_dtype(pixels))
    decode_stored(frame, values)
    return values


def _place(frame: Frame) -> Key:
    return (frame.slope, frame.intercept, *np.round(frame.position_mm, 3))


def _own(frame: Frame) -> Key:
    """The key of a slice that equals no other: decoding will refuse it by name."""
    return (frame.file, frame.number)


def _stored_key(frame: Frame) -> Key:
    """Equal for slices stored in the same bytes in the same way."""
    pixels = frame.pixels
    bits = (pixels.bits_allocated, pixels.bits_stored, pixels.shift)
    how = (pixels.syntax, *bits, pixels.signed)
    try:
        # A mosaic's tiles share the bytes of their sheet.
        tile = frame.number if pixels.mosaic else 0
        return (bytes(frame_bytes(frame)), tile, *how, pixels.inverted, *_place(frame))
    except Refused:
        return _own(frame)


def _coding_may_differ(frames: list[Frame], members: list[int]) -> bool:
    """Whether slices at one position could be the same picture written in two ways.

    Plain pixels of one format would be the same bytes. Echoes and time points differ in their
    tags: these are not decoded twice, but where the formats differ too and the tags in nothing but
    the time, which an archive may have changed.
    """
    if len(members) < 2 or any(frames[member].pixels.mosaic for member in members):
        return False
    formats = {
        (p.compressed, p.syntax, p.bits_allocated, p.bits_stored, p.big_endian, p.shift)
        for p in (frames[member].pixels for member in members)
    }
    passed_over = ACQUISITION_TAGS.keys() if len(formats) > 1 else ()
    alike = {
        tuple(sorted(item for item in frames[member].tags.items() if item[0] not in passed_over))
        for member in members
    }
    compressed = any(frames[member].pixels.compressed for member in members)
    return len(alike) < len(members) and (len(formats) > 1 or compressed)


def _decoded_key(frame: Frame) -> Key:
    try:
        values = _decoded(frame)
    except Refused:
        return _own(frame)
    return (values.astype(np.int64).tobytes(), *_place(frame))
