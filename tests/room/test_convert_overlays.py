"""Overlays that old files keep in the unused bits of a pixel are no part of its value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scanner_helpers import CODECS, Acquisition, add_pixels, file_bytes, orientations, slice_dataset
from spinegrade.convert.series import SeriesSource, convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.volumes import open_volume

LOSSLESS = [codec for codec, (_, _, tolerance) in CODECS.items() if not tolerance]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("codec", [None, *LOSSLESS])
def test_overlay_bits_are_cleared(tmp_path: Path, codec: str | None, signed: bool) -> None:
    # 12 bits hold the value, bit 13 an overlay; a lossless codestream holds all 16.
    acquisition = Acquisition(orientations("HFS", "axial")[0])
    generator = np.random.default_rng(5)
    values = generator.integers(-2048 if signed else 0, 2048, acquisition.shape)
    overlay = generator.integers(0, 2, acquisition.shape) << 13
    (tmp_path / "in").mkdir()
    for place, plane in enumerate((values & 0xFFF) | overlay):
        dataset = slice_dataset(acquisition, place, place + 1, (16, 16, signed))
        syntax = add_pixels(dataset, [plane], codec) or "1.2.840.10008.1.2.1"
        dataset.BitsStored, dataset.HighBit = 12, 11
        (tmp_path / "in" / f"{place}.dcm").write_bytes(file_bytes(dataset, syntax))
    source = SeriesSource("1", "2", "train", "axial", "t2", tmp_path / "in")
    result = convert_series(source, tmp_path / "out", ConvertSettings())
    assert not result.rejected
    volume = open_volume(tmp_path / "out" / result.stacks[0]["volume"])
    np.testing.assert_array_equal(volume, values)
