"""Odd series whose slices are stored oddly, or have files beside them that are none."""

from __future__ import annotations

import struct

import numpy as np
from odd_series import (
    PLAIN,
    EnhancedFrame,
    Files,
    OddSeries,
    Scan,
    enhanced,
    item,
    packed,
    sagittal_firsts,
    slice_of,
    slices,
)
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_sequence
from scanner_helpers import add_pixels, describe_pixels, file_bytes

PADDING = 65535
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
SCAN = Scan("scan", sagittal_firsts())
FRAMES = [EnhancedFrame(0, place) for place in range(15)]


def _segmentation(axis: int) -> Files:
    yield from slices(SCAN, axis)
    data = enhanced((SCAN,), FRAMES, axis, number=99, series="9", Modality="SEG")
    data.SOPClassUID, data.SegmentationType = SEGMENTATION, "FRACTIONAL"
    data.ImageType, data.MaximumFractionalValue = ["DERIVED", "PRIMARY"], 255
    data.ReferencedSeriesSequence = item(SeriesInstanceUID="1.2.826.1.2.1")
    data.SegmentSequence = item(SegmentNumber=1, SegmentLabel="disc")
    describe_pixels(data, (SCAN.rows, SCAN.cols), (8, 8, False))
    mask = np.zeros((15, SCAN.rows, SCAN.cols), np.int64)
    mask[3:9, 5:15, 5:15] = 255
    yield "segmentation.dcm", packed(data, mask)


def _padding(axis: int) -> Files:
    values = SCAN.values(axis, 0)
    values[..., :4] = PADDING
    for place in range(15):
        data = slice_of(SCAN, place, place + 1)
        describe_pixels(data, (SCAN.rows, SCAN.cols), (16, 16, False))
        data.add_new(0x00280120, "US", PADDING)
        yield f"{place + 1}.dcm", packed(data, values[place])


def _high_bit(axis: int) -> Files:
    values = SCAN.values(axis, 0)
    for place in range(15):
        data = slice_of(SCAN, place, place + 1, BitsStored=12, HighBit=15)
        data.add_new("PixelData", "OW", (values[place] << 4).astype("<u2").tobytes())
        yield f"{place + 1}.dcm", file_bytes(data, PLAIN)


def _padded_rle(axis: int) -> Files:
    values = SCAN.values(axis, 0)
    for place in range(15):
        data = slice_of(SCAN, place, place + 1)
        syntax = add_pixels(data, [values[place]], "rle")
        frame = next(generate_frames(data.PixelData, number_of_frames=1))
        # Two zero bytes at least, whatever the length was.
        data.PixelData = encapsulate([frame + bytes(2 + (-len(frame) - 2) % 4)])
        yield f"{place + 1}.dcm", file_bytes(data, syntax)


def _unknown_groups(axis: int) -> Files:
    data = enhanced((SCAN,), FRAMES, axis)
    unknown = b""
    for tag in (0x52009229, 0x52009230):
        stream = DicomBytesIO()
        stream.is_little_endian, stream.is_implicit_VR = True, True
        write_sequence(stream, data[tag], ["utf8"])
        value = stream.getvalue()
        unknown += struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"UN", 0, len(value)) + value
        del data[tag]
    whole = file_bytes(data, PLAIN)
    # pydicom would write them as sequences again; they stand before the pixel data.
    pixels = whole.rindex(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
    yield "1.dcm", whole[:pixels] + unknown + whole[pixels:]


def _frames_in_any_order(axis: int) -> Files:
    order = np.random.default_rng(4).permutation(15)
    yield "1.dcm", file_bytes(enhanced((SCAN,), [FRAMES[n] for n in order], axis), PLAIN)


def _concatenation(axis: int) -> Files:
    for part, frames in enumerate((FRAMES[:7], FRAMES[7:])):
        data = enhanced((SCAN,), frames, axis, number=part + 1)
        data.ConcatenationUID = "1.2.826.1.5"
        data.InConcatenationNumber, data.InConcatenationTotalNumber = part + 1, 2
        data.ConcatenationFrameOffsetNumber = 7 * part
        yield f"{part + 1}.dcm", file_bytes(data, PLAIN)


def _two_codings(axis: int) -> Files:
    yield from slices(SCAN, axis)
    yield from slices(SCAN, axis, codec="rle", prefix="again_")


def _copied(axis: int) -> Files:
    for name, data in slices(SCAN, axis):
        yield name, data
        if name in ("4.dcm", "9.dcm"):
            yield f"copy_of_{name}", data


def _implicit(axis: int) -> Files:
    values = SCAN.values(axis, 0)
    for place in range(15):
        data = slice_of(SCAN, place, place + 1)
        add_pixels(data, [values[place]])
        yield f"IM{place + 1:04}", file_bytes(data, uid.ImplicitVRLittleEndian)


CASES = tuple(
    OddSeries(name, says, (SCAN,), files)
    for name, says, files in (
        ("segmentation beside", "a DICOM SEG of the series in its folder", _segmentation),
        ("padding of 65535", "PixelPaddingValue in the first four columns", _padding),
        (
            "high bit 15 of 12 bits",
            "HighBit above BitsStored - 1, as older files have it",
            _high_bit,
        ),
        ("RLE padded to four bytes", "two or more zero bytes after the last segment", _padded_rle),
        (
            "functional groups as UN",
            "an archive did not know the element (PS3.5 6.2.2)",
            _unknown_groups,
        ),
        (
            "frames in any order",
            "one enhanced file, its frames not in the order of place",
            _frames_in_any_order,
        ),
        ("concatenation", "one enhanced image in two files of 7 and 8 frames", _concatenation),
        (
            "one slice in two codings",
            "each of 15 files again as RLE, the same object",
            _two_codings,
        ),
        ("copies under other names", "two of 15 files twice, byte for byte", _copied),
        ("implicit VR, no suffix", "Implicit VR Little Endian, names without .dcm", _implicit),
    )
)
