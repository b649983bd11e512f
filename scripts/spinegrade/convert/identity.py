"""From which source a slice comes: its series, kind of picture, echo, phase, time, weighting.

Slices of two sources never share a volume, whatever their order, names and numbers, and
however well one would fill a hole of the other.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable, Iterable

import numpy as np

from spinegrade.convert.header import Frame
from spinegrade.convert.tags import (
    BINARY_TAGS,
    IMAGE_TYPE,
    LOSSY,
    NOISY_TAGS,
    SAME_SHARE,
    SOURCE_TAGS,
)

_DERIVED = (b"DERIVED", b"SECONDARY")
_SERIES_UID = 0x0020000E
_DOUBLE = struct.Struct("<d")
# ImageType and FrameType.
_KINDS = (IMAGE_TYPE, 0x00089007)


def by_source(frames: list[Frame]) -> tuple[list[list[Frame]], list[str]]:
    """Slices by source, originals before derived ones, then by instance number; the tags' names.

    A tag counts where it tells sources apart: not where nearly every slice has a value of its
    own (some anonymisers give every file another SeriesInstanceUID).
    """
    parts: list[list[Frame]] = [frames]
    names: list[str] = []
    if alike(frames):
        return parts, names
    for tag, name in SOURCE_TAGS.items():
        values = _values(frames, tag)
        if len(set(values)) < 2 or not _tells(frames, values):
            continue
        value_of = {id(frame): value for frame, value in zip(frames, values, strict=True)}
        finer = []
        for part in parts:
            split: dict[Hashable, list[Frame]] = {}
            for frame in part:
                split.setdefault(value_of[id(frame)], []).append(frame)
            finer += split.values()
        # More parts than half of the slices: the tags cut across each other and tell nothing.
        if len(parts) < len(finer) <= max(len(frames) // 2, 1):
            parts = finer
            names.append(name)
    return sorted(parts, key=lambda part: min(map(source_rank, part))), names


def alike(frames: list[Frame]) -> bool:
    """Whether no tag tells any of the slices from another."""
    first = frames[0].tags
    return all(frame.tags == first for frame in frames)


def _tells(frames: list[Frame], values: list[Hashable]) -> bool:
    """Whether values are shared by slices: as a rule by at least two, counted by file for a UID."""
    return 2 * len(set(values)) <= len(frames)


def _values(frames: list[Frame], tag: int) -> list[Hashable]:
    raw = [frame.tags.get(tag) for frame in frames]
    if tag in _KINDS:
        return list(_before_compression(frames, raw))
    if tag not in NOISY_TAGS or len(set(raw)) < 2:
        return list(raw)
    same = _close_numbers({value for value in raw if value is not None}, tag in BINARY_TAGS)
    return [same.get(value, value) for value in raw]


def _before_compression(frames: list[Frame], kinds: list[bytes | None]) -> list[bytes | None]:
    """``kinds`` of picture, of which lossy compression alone made none DERIVED.

    An archive that compresses some slices of a scan must call them so (PS3.3 C.7.6.1.1.2). A
    compressed copy beside its original stays derived.
    """
    if all(frame.tags.get(LOSSY) != b"01" for frame in frames):
        return kinds
    known = set(kinds)
    original = [
        b"ORIGINAL" + kind.removeprefix(b"DERIVED")
        if kind and kind.startswith(b"DERIVED\\") and frame.tags.get(LOSSY) == b"01"
        else kind
        for frame, kind in zip(frames, kinds, strict=True)
    ]
    original = [one if one in known else kind for one, kind in zip(original, kinds, strict=True)]
    places = {
        (
            *np.round(frame.position_mm, 2).tolist(),
            kind,
            *sorted(item for item in frame.tags.items() if item[0] not in (LOSSY, *_KINDS)),
        )
        for frame, kind in zip(frames, original, strict=True)
    }
    return original if len(places) == len(frames) else kinds


def _close_numbers(values: Iterable[bytes], binary: bool) -> dict[bytes | None, Hashable]:
    """For each value that is a number, the least of those that it follows by small steps."""
    numbers = []
    for value in values:
        try:
            number = _DOUBLE.unpack(value)[0] if binary else float(value)
        except (ValueError, struct.error):
            continue
        numbers.append((number, value))
    first: dict[bytes | None, Hashable] = {}
    before = group = 0.0
    for number, value in sorted(numbers):
        if not first or number > before * (1 + SAME_SHARE):
            group = number
        first[value] = group
        before = number
    return first


def source_rank(frame: Frame) -> tuple[bool, int, str, int]:
    """Originals before derived and secondary pictures, then by number and name of the file."""
    return is_derived(frame), frame.instance_number, frame.file, frame.number


def is_derived(frame: Frame) -> bool:
    """Whether a slice calls itself derived or secondary."""
    kinds = [frame.tags.get(tag, b"") for tag in _KINDS]
    return any(word in kind.split(b"\\") for kind in kinds for word in _DERIVED)


def series_uids(frames: list[Frame]) -> dict[bytes, int]:
    """Number of files by SeriesInstanceUID, where several tell series apart; else empty."""
    if alike(frames):
        return {}
    of_file = {frame.file: frame.tags.get(_SERIES_UID) for frame in frames}
    counts: dict[bytes, int] = {}
    for uid in of_file.values():
        if uid:
            counts[uid] = counts.get(uid, 0) + 1
    return counts if len(counts) >= 2 and 2 * len(counts) <= len(of_file) else {}
