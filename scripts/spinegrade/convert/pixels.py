"""Stored pixels of one slice to numbers: the transfer syntaxes, signs, bits and rescaling."""

from __future__ import annotations

import math
import struct

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import get_frame

from spinegrade.convert.header import Frame, PixelFormat
from spinegrade.convert.refusals import Refused

_RLE = "1.2.840.10008.1.2.5"
_JPEG_LOSSLESS = {"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"}
_JPEG_LOSSY = {
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.53",
    "1.2.840.10008.1.2.4.55",
}
_JPEG_LS = {"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"}
_JPEG_2000 = {f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 92, 93, 201, 202, 203)}
_KNOWN = {_RLE, *_JPEG_LOSSLESS, *_JPEG_LOSSY, *_JPEG_LS, *_JPEG_2000}
# PackBits turns at best two bytes into 128.
_RLE_GREATEST_RATIO = 64


def check_format(pixels: PixelFormat) -> None:
    """Raise Refused for colour, odd depths and transfer syntaxes that are not decoded."""
    if pixels.samples != 1 or pixels.colour:
        raise Refused("COLOUR", f"{pixels.samples} samples a pixel, {pixels.colour or 'unnamed'}")
    if pixels.bits_allocated not in (8, 16, 32):
        raise Refused("UNSUPPORTED_SYNTAX", f"{pixels.bits_allocated} bits are allocated a pixel")
    if pixels.compressed and pixels.syntax not in _KNOWN:
        raise Refused("UNSUPPORTED_SYNTAX", f"transfer syntax {pixels.syntax[:64]}")


def stored_dtype(pixels: PixelFormat) -> np.dtype:
    """The integer type that the file's stored values fill."""
    return np.dtype(f"{'i' if pixels.signed else 'u'}{pixels.bits_allocated // 8}")


def frame_bytes(frame: Frame) -> bytes | memoryview:
    """The stored bytes of one slice, compressed or not. Raises Refused where they are short."""
    pixels = frame.pixels
    if pixels.compressed:
        return _fragments_of(frame)
    size = pixels.rows * pixels.cols * pixels.bits_allocated // 8
    part = pixels.data[frame.number * size : (frame.number + 1) * size]
    if len(part) < size:
        raise Refused("TRUNCATED", f"{len(part)} bytes of pixels, expected {size}")
    return part


def _fragments_of(frame: Frame) -> bytes | memoryview:
    """One compressed frame: its fragments joined (PS3.5 A.4)."""
    pixels = frame.pixels
    if pixels.frames > 1:
        try:
            return get_frame(bytes(pixels.data), frame.number, number_of_frames=pixels.frames)
        except Exception as error:
            # The walk over damaged fragments can fail in any way.
            found = f"frame {frame.number + 1} of {pixels.frames}: {type(error).__name__}"
            raise Refused("TRUNCATED", found) from error
    fragments: list[memoryview] = []
    place, end = 0, len(pixels.data)
    while place + 8 <= end:
        group, element, length = struct.unpack_from("<HHI", pixels.data, place)
        place += 8
        if (group, element) == (0xFFFE, 0xE0DD):
            break
        if (group, element) != (0xFFFE, 0xE000):
            raise Refused("DECODE_FAILED", f"pixel data holds ({group:04x},{element:04x})")
        if place + length > end:
            raise Refused("TRUNCATED", f"{end - place} bytes of a fragment of {length}")
        fragments.append(pixels.data[place : place + length])
        place += length
    if len(fragments) < 2:  # the first is the offset table
        raise Refused("TRUNCATED", "the pixel data holds no fragment")
    return fragments[1] if len(fragments) == 2 else b"".join(fragments[1:])


def decode_stored(frame: Frame, out: NDArray[np.generic]) -> None:
    """Decode the stored values of one slice into ``out`` (rows, cols), C-contiguous.

    ``out`` has the type that ``stored_dtype`` names. Values come as the file defines them:
    unused high bits cleared or filled with the sign, MONOCHROME1 turned so that greater is
    brighter. Raises Refused, and nothing else.
    """
    pixels = frame.pixels
    data = frame_bytes(frame)
    flat = out.reshape(-1)
    syntax = pixels.syntax
    if not pixels.compressed:
        stored = out.dtype.newbyteorder(">" if pixels.big_endian else "<")
        flat[:] = np.frombuffer(data, stored)
    elif syntax == _RLE:
        _decode_rle(data, flat)
    else:
        decoded = _decode_codestream(syntax, bytes(data), pixels)
        if decoded.shape != out.shape:
            raise Refused("DECODE_FAILED", f"decoded to {decoded.shape}, expected {out.shape}")
        out[...] = decoded.astype(out.dtype, copy=False)
    _clear_unused_bits(flat, pixels)
    if pixels.inverted:
        # Greatest plus least stored value minus value.
        np.subtract(-1 if pixels.signed else (1 << pixels.bits_stored) - 1, flat, out=flat)


def _decode_rle(data: bytes | memoryview, flat: NDArray[np.generic]) -> None:
    expected = flat.nbytes
    if expected > _RLE_GREATEST_RATIO * len(data):
        raise Refused("TRUNCATED", f"{len(data)} bytes cannot hold {expected} bytes of pixels")
    kind = np.dtype(f"<u{flat.itemsize}")
    try:
        written = imagecodecs.dicomrle_decode(data, kind, out=flat.view(np.uint8))
    except (RuntimeError, ValueError) as error:  # the codec's own error is a RuntimeError
        raise Refused("DECODE_FAILED", f"RLE: {error}"[:120]) from error
    if len(written) != expected:
        raise Refused("TRUNCATED", f"{len(written)} bytes of pixels, expected {expected}")


def _decode_codestream(syntax: str, data: bytes, pixels: PixelFormat) -> NDArray[np.generic]:
    if syntax in _JPEG_2000:
        decode, size = imagecodecs.jpeg2k_decode, _jpeg_2000_size(data)
    elif syntax in _JPEG_LS:
        decode, size = imagecodecs.jpegls_decode, _jpeg_size(data)
    elif syntax in _JPEG_LOSSLESS:
        decode, size = imagecodecs.ljpeg_decode, _jpeg_size(data)
    else:
        decode, size = imagecodecs.jpeg8_decode, _jpeg_size(data)
    # Asked before decoding: a small codestream that claims a huge image must not get memory.
    if size != (pixels.rows, pixels.cols):
        raise Refused("DECODE_FAILED", f"the codestream is {size}, the header says otherwise")
    try:
        return np.asarray(decode(data))
    except Exception as error:
        # Every codec has exceptions of its own; all mean that the frame is damaged.
        raise Refused("DECODE_FAILED", f"{type(error).__name__}: {error}"[:120]) from error


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """(rows, cols) in the frame header (SOF) of a JPEG or JPEG-LS stream; (0, 0) without one."""
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            return (
                int.from_bytes(data[place + 5 : place + 7], "big"),
                int.from_bytes(data[place + 7 : place + 9], "big"),
            )
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return 0, 0


def _jpeg_2000_size(data: bytes) -> tuple[int, int]:
    """(rows, cols) of a JPEG 2000 codestream's SIZ segment; (0, 0) without one."""
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0 or len(data) < start + 24:
        return 0, 0
    x_end, y_end, x_start, y_start = (
        int.from_bytes(data[start + at : start + at + 4], "big") for at in (8, 12, 16, 20)
    )
    return y_end - y_start, x_end - x_start


def _clear_unused_bits(flat: NDArray[np.generic], pixels: PixelFormat) -> None:
    """Bits above BitsStored hold overlays in old files: clear them, or extend the sign."""
    spare = pixels.bits_allocated - pixels.bits_stored
    if not spare:
        return
    if pixels.signed:
        half = 1 << (pixels.bits_stored - 1)
        if flat.max() >= half or flat.min() < -half:
            np.left_shift(flat, spare, out=flat)
            np.right_shift(flat, spare, out=flat)
    elif flat.max() >> pixels.bits_stored:
        np.bitwise_and(flat, (1 << pixels.bits_stored) - 1, out=flat)


class FramesRefused(Exception):
    """Slices of a volume that cannot be decoded: their places in the list, and why."""

    def __init__(self, refused: list[tuple[int, Refused]]) -> None:
        super().__init__(f"{len(refused)} slices cannot be decoded")
        self.refused = refused


class Scratch:
    """Memory that volumes are decoded into one after another.

    The first touch of fresh memory costs more than decoding into memory in use.
    """

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> NDArray[np.generic]:
        """An uninitialised array that holds until the next one is asked for."""
        needed = math.prod(shape) * dtype.itemsize
        if len(self._bytes) < needed:
            self._bytes = np.empty(needed, np.uint8)
        return self._bytes[:needed].view(dtype).reshape(shape)


def decode_volume(frames: list[Frame], scratch: Scratch | None = None) -> NDArray[np.generic]:
    """The rescaled voxels (len(frames), rows, cols) of slices that share a size.

    int16 or uint16 where every value is whole and fits (what MR and CT hold), int32 where
    wider, else float32. With ``scratch`` the result may lie in it, until its next use. Raises
    FramesRefused with every slice that cannot be decoded.
    """
    kinds = [stored_dtype(frame.pixels) for frame in frames]
    stored = kinds[0] if len(set(kinds)) == 1 else np.result_type(*kinds)
    shape = (len(frames), frames[0].pixels.rows, frames[0].pixels.cols)
    volume = (scratch or Scratch()).array(shape, np.dtype(stored))
    refused = []
    for place, (frame, kind) in enumerate(zip(frames, kinds, strict=True)):
        single = volume[place] if kind == stored else np.empty(shape[1:], kind)
        try:
            decode_stored(frame, single)
        except Refused as error:
            refused.append((place, error))
        if kind != stored:
            volume[place] = single
    if refused:
        raise FramesRefused(refused)
    return _rescale(volume, frames)


def _rescale(volume: NDArray[np.generic], frames: list[Frame]) -> NDArray[np.generic]:
    slopes = np.array([frame.slope for frame in frames])
    intercepts = np.array([frame.intercept for frame in frames])
    if (slopes == 1).all() and (intercepts == 0).all():
        return _compact(volume)
    if (slopes == np.rint(slopes)).all() and (intercepts == np.rint(intercepts)).all():
        whole = volume.astype(np.int64)
        whole *= slopes.astype(np.int64)[:, None, None]
        whole += intercepts.astype(np.int64)[:, None, None]
        return _compact(whole)
    scaled = np.empty(volume.shape, np.float32)
    for place in range(len(frames)):
        scaled[place] = volume[place] * slopes[place] + intercepts[place]
    return scaled


def _compact(volume: NDArray[np.generic]) -> NDArray[np.generic]:
    """Whole numbers as int16 or uint16 where they fit, else int32 or float32."""
    if volume.dtype in (np.uint16, np.int16):
        return volume
    low, high = int(volume.min()), int(volume.max())
    for kind in (np.int16, np.uint16, np.int32):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return volume.astype(kind)
    return volume.astype(np.float32)
