"""Compressed frames of the JPEG families: what they claim is asked before they are decoded.

A codestream of a few bytes may claim an image, a number of components or of tiles that fills
the memory, and one that was cut may hold a decoder for ever. So size, components, tiles and the
end are looked at first.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from spinegrade.convert.pixel_format import JPEG_2000, JPEG_LOSSLESS, JPEG_LS
from spinegrade.convert.refusals import Refused

_MOST_TILES = 1024
_JP2_SIGNATURE = b"\0\0\0\x0cjP  "
_CODESTREAM_2000 = b"\xff\x4f\xff\x51"
_END = b"\xff\xd9"


class _Claim(NamedTuple):
    rows: int
    cols: int
    components: int
    tiles: int


def decode_codestream(syntax: str, data: bytes, shape: tuple[int, int]) -> NDArray[np.generic]:
    """The values (rows, cols) of a frame in one of the JPEG transfer syntaxes, in its own type.

    Raises Refused DECODE_FAILED for one that is damaged or is not one image of ``shape``, and
    TRUNCATED for one that was cut.
    """
    claim = _jpeg_2000_claim(data) if syntax in JPEG_2000 else _jpeg_claim(data)
    if claim is None:
        raise Refused("DECODE_FAILED", "the compressed frame says nothing of its size")
    if (claim.rows, claim.cols) != shape or claim.components != 1:
        found = f"{claim.rows} x {claim.cols}, {claim.components} components"
        raise Refused(
            "DECODE_FAILED", f"the compressed frame is {found}, the header says otherwise"
        )
    if claim.tiles > _MOST_TILES:
        raise Refused("DECODE_FAILED", f"the compressed frame is cut into {claim.tiles} tiles")
    if syntax in JPEG_2000:
        decode = imagecodecs.jpeg2k_decode
    else:
        # Fragments are filled up to an even length. Without its end a frame was cut: one decoder
        # then paints grey, another may never return.
        data = data.rstrip(b"\0")
        if not data.endswith(_END):
            raise Refused("TRUNCATED", "the compressed frame has no end")
        decode = imagecodecs.jpeg8_decode
        if syntax in JPEG_LS:
            decode = imagecodecs.jpegls_decode
        elif syntax in JPEG_LOSSLESS:
            decode = imagecodecs.ljpeg_decode
    try:
        decoded = np.asarray(decode(data))
    except Exception as error:
        # Every codec has exceptions of its own; all mean that the frame is damaged.
        raise Refused("DECODE_FAILED", f"{type(error).__name__}: {error}"[:120]) from error
    if decoded.shape != shape:
        raise Refused("DECODE_FAILED", f"decoded to {decoded.shape}, expected {shape}")
    return decoded


def _jpeg_claim(data: bytes) -> _Claim | None:
    """From the frame header (SOF) of a JPEG or JPEG-LS stream."""
    place = 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            rows, cols, components = struct.unpack_from(">HHB", data, place + 5)
            return _Claim(rows, cols, components, 1)
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _jpeg_2000_claim(data: bytes) -> _Claim | None:
    """From the SIZ segment of a JPEG 2000 codestream, alone or in its JP2 box."""
    start = _codestream_2000(data) if data.startswith(_JP2_SIGNATURE) else 0
    if data[start : start + 4] != _CODESTREAM_2000 or len(data) < start + 42:
        return None
    x_end, y_end, x_start, y_start, tile_x, tile_y, tile_x_start, tile_y_start, components = (
        struct.unpack_from(">8IH", data, start + 8)
    )
    if not tile_x or not tile_y:
        return None
    across = -(-(x_end - tile_x_start) // tile_x)
    down = -(-(y_end - tile_y_start) // tile_y)
    return _Claim(y_end - y_start, x_end - x_start, components, max(across, 1) * max(down, 1))


def _codestream_2000(data: bytes) -> int:
    """Where the codestream box of a JP2 file starts; its length where there is none."""
    place = 0
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"jp2c":
            return place + (16 if length == 1 else 8)
        if length < 8:
            break
        place += length
    return len(data)
