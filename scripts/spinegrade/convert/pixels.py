"""Stored pixels of one slice to numbers: the transfer syntaxes, signs, bits and rescaling."""

from __future__ import annotations

import math
import struct

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from spinegrade.convert.codestreams import decode_codestream
from spinegrade.convert.header import Frame
from spinegrade.convert.padding import kept_padding
from spinegrade.convert.pixel_format import LOSSY, RLE, RLE_GREATEST_RATIO, PixelFormat
from spinegrade.convert.refusals import Refused

_RLE_HEADER_BYTES = 64
_MOST_RLE_FILL = 16


def stored_dtype(pixels: PixelFormat) -> np.dtype:
    """The integer type that the file's stored values fill."""
    return np.dtype(f"{'i' if pixels.signed else 'u'}{pixels.bits_allocated // 8}")


def frame_bytes(frame: Frame) -> bytes | memoryview:
    """The stored bytes of one slice, compressed or not (of a mosaic: of its whole sheet).

    Raises Refused where they are short, PixelsNotRead where only the header was read.
    """
    pixels = frame.pixels
    number = 0 if pixels.mosaic else frame.number
    if pixels.compressed:
        found = pixels.encapsulated
        if isinstance(found, Refused):
            raise found
        return found[number]
    size = pixels.frame_bytes
    part = pixels.value()[number * size : (number + 1) * size]
    if len(part) < size:
        raise Refused("TRUNCATED", f"{len(part)} bytes of pixels, expected {size}")
    return part


def decode_stored(frame: Frame, out: NDArray[np.generic]) -> None:
    """Decode the stored values of one frame into ``out`` (rows, cols), C-contiguous.

    ``out`` has the type that ``stored_dtype`` names and the shape ``stored_shape`` (of a mosaic:
    that of the whole sheet). Values come as the file defines them:
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
    elif syntax == RLE:
        _decode_rle(data, flat)
    else:
        decoded = decode_codestream(syntax, bytes(data), pixels.stored_shape)
        # Codecs without signs hold the bits of signed numbers.
        clipped = syntax in LOSSY and not pixels.shift
        if clipped and (decoded.dtype.kind == "i") == pixels.signed:
            # Loss may take a value beyond the greatest: it must not come out as the least.
            decoded = np.clip(decoded, *pixels.limits)
        out[...] = decoded.astype(out.dtype, copy=False)
    _clear_unused_bits(flat, pixels)
    if pixels.inverted:
        np.subtract(sum(pixels.limits), flat, out=flat)


def _decode_rle(data: bytes | memoryview, flat: NDArray[np.generic]) -> None:
    expected = flat.nbytes
    if expected > RLE_GREATEST_RATIO * len(data):
        raise Refused("TRUNCATED", f"{len(data)} bytes cannot hold {expected} bytes of pixels")
    try:
        written = _decode_segments(data, flat)
    except (RuntimeError, ValueError) as error:  # the codec's own error is a RuntimeError
        raise Refused("DECODE_FAILED", f"RLE: {error}"[:120]) from error
    if written != expected:
        raise Refused("TRUNCATED", f"{written} bytes of pixels, expected {expected}")


def _decode_segments(data: bytes | memoryview, flat: NDArray[np.generic]) -> int:
    """Decode the segments of a frame, one a byte of a pixel, the highest first; bytes decoded.

    By segment and merged by OpenCV: two thirds of the time of dicomrle_decode, which writes
    every other byte. Raises ValueError or the codec's RuntimeError for a damaged stream.
    """
    if len(data) < _RLE_HEADER_BYTES:
        raise ValueError(f"{len(data)} bytes hold no header")
    count = flat.itemsize
    segments, *starts = struct.unpack_from(f"<{count + 1}I", data)
    places = [_RLE_HEADER_BYTES, *starts, len(data)]
    if segments != count or places != sorted(places):
        raise ValueError(f"{segments} segments at {starts} in {len(data)} bytes")
    ends = [*starts[1:], len(data)]
    planes = np.empty((count, 1, flat.size), np.uint8)
    written = 0
    for start, end, plane in zip(starts, ends, planes, strict=True):
        written += _decode_segment(data[start:end], plane[0])
    whole = flat.view(np.uint8)
    if count == 1:
        whole[:] = planes[0, 0]
    else:
        cv2.merge(list(planes[::-1]), whole.reshape(1, -1, count))
    return written


def _decode_segment(data: bytes | memoryview, out: NDArray[np.uint8]) -> int:
    """Decode one segment; bytes decoded.

    Writers fill segments up to an even length, a multiple of four or more with zeros. The codec
    bears one; two more read as a run of one byte too many. So they are taken off by pairs until
    the rest fills ``out`` and no more: taken off too far, it no longer does.
    """
    for filled in range(0, _MOST_RLE_FILL, 2):
        try:
            return len(imagecodecs.packbits_decode(data[: len(data) - filled], out=out))
        except RuntimeError:
            if bytes(data[-filled - 2 :][:2]) != b"\0\0":
                raise
    raise ValueError(f"more than {_MOST_RLE_FILL} zeros behind a segment")


def _clear_unused_bits(flat: NDArray[np.generic], pixels: PixelFormat) -> None:
    """Bits beside the stored ones hold overlays in old files: clear them, or extend the sign.

    Padding that the stored bits cannot hold stays as delivered. Raises Refused BAD_HEADER where
    HighBit says that values are shifted and they are not.
    """
    spare = pixels.bits_allocated - pixels.bits_stored
    if not spare:
        return
    if pixels.shift:
        if not _beyond(flat, pixels) and np.bitwise_or.reduce(flat) & ((1 << pixels.shift) - 1):
            found = f"HighBit says that values lie {pixels.shift} bits higher than they do"
            raise Refused("BAD_HEADER", found)
        np.right_shift(flat, pixels.shift, out=flat)
    if not _beyond(flat, pixels):
        return
    kept = kept_padding(flat, pixels)
    if pixels.signed:
        np.left_shift(flat, spare, out=flat)
        np.right_shift(flat, spare, out=flat)
    else:
        np.bitwise_and(flat, pixels.limits[1], out=flat)
    if kept is not None:
        flat[kept[0]] = kept[1]


def _beyond(flat: NDArray[np.generic], pixels: PixelFormat) -> bool:
    """Whether a value is more than the stored bits can hold."""
    low, high = pixels.limits
    return bool(flat.max() > high or (pixels.signed and flat.min() < low))


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
        self._slots = [np.empty(0, np.uint8), np.empty(0, np.uint8)]

    def array(self, shape: tuple[int, ...], dtype: np.dtype, slot: int = 0) -> NDArray[np.generic]:
        """An uninitialised array that holds until the next one of its slot is asked for."""
        needed = math.prod(shape) * dtype.itemsize
        if len(self._slots[slot]) < needed:
            self._slots[slot] = np.empty(needed, np.uint8)
        return self._slots[slot][:needed].view(dtype).reshape(shape)


def decode_volume(frames: list[Frame], scratch: Scratch | None = None) -> NDArray[np.generic]:
    """The rescaled voxels (len(frames), rows, cols) of slices that share a size.

    int16 or uint16 where every value is whole and fits (what MR and CT hold), int32 where
    wider, else float32. With ``scratch`` the result may lie in it, until its next use. Raises
    FramesRefused with every slice that cannot be decoded.
    """
    kinds = [stored_dtype(frame.pixels) for frame in frames]
    stored = kinds[0] if len(set(kinds)) == 1 else np.result_type(*kinds)
    shape = (len(frames), frames[0].pixels.rows, frames[0].pixels.cols)
    scratch = scratch or Scratch()
    volume = scratch.array(shape, np.dtype(stored))
    refused = []
    sheets = _Sheets()
    for place, (frame, kind) in enumerate(zip(frames, kinds, strict=True)):
        single = volume[place] if kind == stored else np.empty(shape[1:], kind)
        try:
            if frame.pixels.mosaic:
                single[...] = sheets.tile(frame, kind)
            else:
                decode_stored(frame, single)
        except Refused as error:
            refused.append((place, error))
        if kind != stored:
            volume[place] = single
    if refused:
        raise FramesRefused(refused)
    return _rescale(volume, frames, scratch)


class _Sheets:
    """The sheet of a mosaic decoded last, since its tiles follow each other."""

    def __init__(self) -> None:
        self._of: PixelFormat | None = None
        self._sheet = np.empty((0, 0))

    def tile(self, frame: Frame, kind: np.dtype) -> NDArray[np.generic]:
        """The stored values of one tile (rows, cols)."""
        pixels = frame.pixels
        assert pixels.mosaic is not None
        if self._of is not pixels:
            self._of = None
            self._sheet = np.empty(pixels.stored_shape, kind)
            decode_stored(frame, self._sheet)
            self._of = pixels
        down, right = divmod(frame.number, pixels.mosaic.across)
        row, col = down * pixels.rows, right * pixels.cols
        return self._sheet[row : row + pixels.rows, col : col + pixels.cols]


def _rescale(
    volume: NDArray[np.generic], frames: list[Frame], scratch: Scratch
) -> NDArray[np.generic]:
    slopes = np.array([frame.slope for frame in frames])
    intercepts = np.array([frame.intercept for frame in frames])
    if (slopes == 1).all() and (intercepts == 0).all():
        return _compact(volume, scratch)
    whole = (slopes == np.rint(slopes)).all() and (intercepts == np.rint(intercepts)).all()
    kind = _whole_kind(volume, slopes, intercepts) if whole else np.dtype(np.float32)
    scaled = scratch.array(volume.shape, kind, slot=1)
    for place, (slope, intercept) in enumerate(zip(slopes, intercepts, strict=True)):
        # Slice by slice in 64 bits, so that the wide values never exist as a volume.
        wide = volume[place].astype(np.int64 if kind.kind in "iu" else np.float64)
        scaled[place] = wide * wide.dtype.type(slope) + wide.dtype.type(intercept)
    return scaled


def _whole_kind(
    volume: NDArray[np.generic], slopes: NDArray[np.float64], intercepts: NDArray[np.float64]
) -> np.dtype:
    """The type for whole rescaled values: from each slice's least and greatest stored one."""
    bounds = []
    for plane, slope, intercept in zip(volume, slopes, intercepts, strict=True):
        bounds += [float(value) * slope + intercept for value in (plane.min(), plane.max())]
    return _narrowest(min(bounds), max(bounds))


def _narrowest(low: float, high: float) -> np.dtype:
    for kind in (np.int16, np.uint16, np.int32):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return np.dtype(kind)
    return np.dtype(np.float32)


def _compact(volume: NDArray[np.generic], scratch: Scratch) -> NDArray[np.generic]:
    """Whole numbers as int16 or uint16 where they fit, else int32 or float32."""
    if volume.dtype in (np.uint16, np.int16):
        return volume
    compact = scratch.array(volume.shape, _narrowest(volume.min(), volume.max()), slot=1)
    compact[...] = volume
    return compact
