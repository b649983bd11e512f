"""Compressed pixel data out of the fragments that a file keeps them in (PS3.5 A.4)."""

from __future__ import annotations

import struct

from pydicom.encaps import generate_frames

from spinegrade.convert.refusals import Refused


def split_frames(data: memoryview, frames: int) -> list[bytes | memoryview]:
    """The compressed bytes of each frame of an encapsulated pixel data value.

    Raises Refused where the fragments are damaged or do not make up ``frames`` frames.
    """
    if frames == 1:
        return [_joined(data)]
    try:
        split = list(generate_frames(bytes(data), number_of_frames=frames))
    except Exception as error:
        # The walk over damaged fragments can fail in any way.
        found = f"the fragments of {frames} frames: {type(error).__name__}"
        raise Refused("TRUNCATED", found) from error
    if len(split) < frames:
        raise Refused("TRUNCATED", f"{len(split)} frames in the fragments, expected {frames}")
    return list(split)


def check_lengths(head: memoryview, left_in_file: int) -> None:
    """Raise Refused where a fragment whose start lies in ``head`` ends behind the file's end.

    ``head``: the first bytes of the pixel data; ``left_in_file``: how many there are.
    """
    place = 0
    while place + 8 <= len(head):
        group, element, length = struct.unpack_from("<HHI", head, place)
        if (group, element) != (0xFFFE, 0xE000):
            return  # the end, or damage that decoding names
        place += 8
        if place + length > left_in_file:
            raise Refused("TRUNCATED", f"{left_in_file - place} bytes of a fragment of {length}")
        place += length


def _joined(data: memoryview) -> bytes | memoryview:
    """All fragments of the only frame, behind the offset table."""
    fragments: list[memoryview] = []
    place, end = 0, len(data)
    while place + 8 <= end:
        group, element, length = struct.unpack_from("<HHI", data, place)
        place += 8
        if (group, element) == (0xFFFE, 0xE0DD):
            break
        if (group, element) != (0xFFFE, 0xE000):
            raise Refused("DECODE_FAILED", "the pixel data hold something else than fragments")
        if place + length > end:
            raise Refused("TRUNCATED", f"{end - place} bytes of a fragment of {length}")
        fragments.append(data[place : place + length])
        place += length
    if len(fragments) < 2:  # the first is the offset table
        raise Refused("TRUNCATED", "the pixel data holds no fragment")
    return fragments[1] if len(fragments) == 2 else b"".join(fragments[1:])
