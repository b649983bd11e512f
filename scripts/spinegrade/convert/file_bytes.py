"""The bytes of a file: how many are allowed, and read until all that are asked for are there."""

from __future__ import annotations

import os
from pathlib import Path

from spinegrade.convert.refusals import Refused


def greatest_bytes(max_frame_mb: float) -> int:
    """What a file, or a deflated one when inflated, may have: eight times ``max_frame_mb``."""
    return int(8 * max_frame_mb * 2**20)


def file_bytes(path: Path, max_frame_mb: float) -> int:
    """How many bytes a file has. Raises Refused UNREADABLE, or TOO_LARGE for too many."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise Refused("UNREADABLE", f"the file cannot be opened ({error.strerror})") from error
    if size > greatest_bytes(max_frame_mb):
        raise Refused("TOO_LARGE", f"the file has {size / 2**20:.0f} MB")
    return size


def read_all(file: int, size: int) -> bytes:
    """``size`` bytes of an open file, or all that are left.

    One read may return less than it was asked for (network file systems, more than 2 GB).
    """
    data = os.read(file, size)
    if len(data) == size or not data:
        return data
    parts = [data]
    left = size - len(data)
    while left > 0 and (data := os.read(file, left)):
        parts.append(data)
        left -= len(data)
    return b"".join(parts)
