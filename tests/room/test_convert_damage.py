"""Files damaged at random: each is read or refused by code, nothing else, and quickly."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
from dicom_helpers import AXIAL, voxels, write_slice
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from spinegrade.convert.header import read_frames
from spinegrade.convert.pixels import FramesRefused, decode_volume
from spinegrade.convert.plan import plan_series
from spinegrade.convert.refusals import REFUSALS, Refused
from spinegrade.convert.settings import ConvertSettings


def damage(data: bytes, generator: random.Random) -> bytes:
    """Bytes changed, cut, inserted or removed at one to four places, mostly in the header."""
    changed = bytearray(data)
    for _ in range(generator.choice([1, 1, 2, 4])):
        place = generator.randrange(min(len(changed), generator.choice([400, 1200, 10**6])))
        kind = generator.random()
        if kind < 0.6:
            changed[place] = generator.choice([0, 1, 127, 128, 255])
        elif kind < 0.7:
            changed = changed[: max(place, 1)]
        elif kind < 0.8:
            changed[place:place] = generator.randbytes(generator.randrange(1, 9))
        elif kind < 0.9:
            del changed[place : place + generator.randrange(1, 50)]
            changed = changed or bytearray(b"x")
        else:
            changed[place : place + 4] = b"\xff\xff\xff\xff"
    return bytes(changed)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_damaged_files_are_read_or_refused(tmp_path: Path, syntax: str) -> None:
    whole = write_slice(
        tmp_path / "1.dcm", voxels(1, 40, 40)[0], AXIAL, np.zeros(3), 1, syntax=syntax
    ).read_bytes()
    generator = random.Random(7)
    path = tmp_path / "damaged.dcm"
    settings = ConvertSettings(min_slices=1)
    codes = set()
    for _ in range(600):
        path.write_bytes(damage(whole, generator))
        began = time.monotonic()
        try:
            frames = read_frames(path, 16.0)
            stacks, _ = plan_series(frames, None, settings)
            for stack in stacks:
                decode_volume(stack.frames)
        except Refused as refused:
            codes.add(refused.code)
        except FramesRefused as refused:
            codes.update(why.code for _, why in refused.refused)
        assert time.monotonic() - began < 5
    assert codes <= set(REFUSALS)
    assert {"TRUNCATED", "BAD_HEADER", "NO_GEOMETRY"} <= codes


def test_a_corrupt_rle_stream_is_refused(tmp_path: Path) -> None:
    path = write_slice(
        tmp_path / "1.dcm", voxels(1, 40, 40)[0], AXIAL, np.zeros(3), 1, syntax=RLELossless
    )
    data = path.read_bytes()
    start = data.index(b"\xfe\xff\x00\xe0", data.index(b"\xe0\x7f\x10\x00") + 20)
    segments = start + 8 + 64  # behind the item's and the RLE header
    # 0x81: repeat the next byte 128 times, far beyond the rows there are.
    path.write_bytes(data[:segments] + b"\x81" * 200 + data[segments + 200 :])
    with pytest.raises(FramesRefused) as caught:
        decode_volume(read_frames(path, 16.0))
    assert caught.value.refused[0][1].code == "DECODE_FAILED"
