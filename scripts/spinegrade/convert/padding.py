"""Padding (PixelPaddingValue): voxels around a picture that are no part of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spinegrade.convert.header import Frame
from spinegrade.convert.pixel_format import PixelFormat

Range = tuple[float, float]

# Where less of a volume is left, its "padding" is the picture itself, declared wrongly.
LEAST_PICTURE = 1 / 1000


def kept_padding(
    flat: NDArray[np.generic], pixels: PixelFormat
) -> tuple[NDArray[np.bool_], NDArray[np.generic]] | None:
    """Where stored values are padding that the stored bits cannot hold, and what they become.

    Such padding (63536 in 12 bits, say) would turn into a value of the picture once the unused
    bits are cleared. It stays what it is; turned values (MONOCHROME1) take the nearest limit.
    """
    if pixels.padding is None or pixels.shift:
        return None
    low, high = pixels.limits
    if low <= pixels.padding[0] and pixels.padding[1] <= high:
        return None
    padded = inside_range(flat, pixels.padding) & ((flat < low) | (flat > high))
    values = flat[padded]
    return padded, np.clip(values, low, high) if pixels.inverted else values


def padding_of(frame: Frame, dtype: np.dtype) -> Range | None:
    """The padding of a slice in the units of a volume of ``dtype``; None where none is declared."""
    pixels = frame.pixels
    if pixels.padding is None:
        return None
    ends = np.array(pixels.padding, np.float64)
    if pixels.inverted:
        ends = sum(pixels.limits) - np.clip(ends, *pixels.limits)
    ends = np.sort(ends * frame.slope + frame.intercept)
    if dtype.kind == "f":
        ends = ends.astype(dtype)
    return float(ends[0]), float(ends[1])


def settle_padding(volume: NDArray[np.generic], frames: Sequence[Frame]) -> Range | None:
    """The least and the greatest padding of a volume (z, y, x), in its units; None without any.

    Where its slices declare padding of different values (rescaled in different ways, as a rule),
    the padding is set to one of them in ``volume``, to one that no voxel of the picture has if
    there is one. None too where hardly anything else would be left of the volume: then what is
    declared cannot be.
    """
    if all(frame.pixels.padding is None for frame in frames):
        return None
    ranges = [padding_of(frame, volume.dtype) for frame in frames]
    declared = sorted({ends for ends in ranges if ends is not None})
    found = declared[0] if len(declared) == 1 else _united(volume, ranges, declared)
    count = np.count_nonzero(inside_range(volume, found))
    return found if 0 < count <= volume.size * (1 - LEAST_PICTURE) else None


def inside_range(array: NDArray[np.generic], ends: Range) -> NDArray[np.bool_]:
    """Where values lie between ``ends``, both included."""
    low, high = ends
    return array == low if low == high else (array >= low) & (array <= high)


def _united(
    volume: NDArray[np.generic], ranges: Sequence[Range | None], declared: Sequence[Range]
) -> Range:
    padded = np.zeros(volume.shape, bool)
    for plane, mask, ends in zip(volume, padded, ranges, strict=True):
        if ends is not None:
            mask[...] = inside_range(plane, ends)
    values = [ends[0] for ends in declared if _holds(volume.dtype, ends[0])]
    if not values or not padded.any():
        return declared[0]
    picture = volume[~padded]
    value = next((one for one in values if not (picture == one).any()), values[0])
    volume[padded] = value
    return value, value


def _holds(dtype: np.dtype, value: float) -> bool:
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return value.is_integer() and limits.min <= value <= limits.max
