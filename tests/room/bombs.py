"""Small files that claim much: what a reader must refuse before it takes the memory or the day."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import planted
from dicom_helpers import AXIAL, voxels, write_slice
from planted import PIXEL_DATA, TRANSFER_SYNTAX, Parts, encode, item

POSITION, ORIENTATION, SPACING = 0x00200032, 0x00200037, 0x00280030
ROWS, COLS, FRAMES = 0x00280010, 0x00280011, 0x00280008
SLOPE, INTERCEPT, INSTANCE, THICKNESS = 0x00281053, 0x00281052, 0x00200013, 0x00180050
SPACING_BETWEEN = 0x00180088
GROUPS = 0x52009230
_RLE, _DEFLATED = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.99"
_IMPLICIT, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_JPEG, _LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
_JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
_IMAGE = (voxels(1, 64, 64)[0] // 16).astype(np.uint8)


def plain(folder: Path) -> Parts:
    """A whole slice of 64 x 64 bytes, 100 mm above the others of its series."""
    path = write_slice(folder / "plain.dcm", _IMAGE, AXIAL, np.array([0, 0, 100.0]), 9)
    return planted.parts_of(path)


def text(tag: int, value: str | bytes, vr: str = "DS") -> dict[int, bytes]:
    return {tag: encode(tag, vr, value if isinstance(value, bytes) else value.encode())}


def size(rows: int, cols: int, frames: int | None = None) -> dict[int, bytes]:
    found = {
        tag: encode(tag, "US", struct.pack("<H", n)) for tag, n in ((ROWS, rows), (COLS, cols))
    }
    return found if frames is None else found | text(FRAMES, str(frames), "IS")


def changed(own: Parts, *changes: dict[int, bytes], syntax: str | None = None) -> Parts:
    body = dict(own.body)
    for change in changes:
        body |= change
    meta = own.meta
    if syntax is not None:
        meta = {TRANSFER_SYNTAX: encode(TRANSFER_SYNTAX, "UI", syntax.encode())}
    return Parts(meta, body)


def packed(own: Parts, stream: bytes, syntax: str, *changes: dict[int, bytes]) -> bytes:
    """A slice whose only compressed frame is ``stream``."""
    value = item(b"") + item(stream + b"\0" * (len(stream) % 2))
    pixels = {PIXEL_DATA: encode(PIXEL_DATA, "OB", value, True)}
    return changed(own, pixels, *changes, syntax=syntax).assembled()


def deflated(own: Parts, body: bytes, zeros_mb: int = 0) -> bytes:
    """A deflated file of this dataset, ending in zeros."""
    packer = zlib.compressobj(1, wbits=-15)
    content = [packer.compress(body), *(packer.compress(bytes(2**20)) for _ in range(zeros_mb))]
    meta = changed(Parts(own.meta, {}), syntax=_DEFLATED).assembled()
    return meta + b"".join(content) + packer.flush()


def dataset(own: Parts, *changes: dict[int, bytes]) -> bytes:
    body = changed(own, *changes).body
    return b"".join(body[tag] for tag in sorted(body))


def zeros(tag: int, count_mb: int) -> bytes:
    """The head of a binary element of that many megabytes."""
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"OB", 0, count_mb * 2**20)


def deflate_bomb(own: Parts) -> bytes:
    return deflated(own, zeros(0x00091010, 400), 400)


def deflated_pixels(own: Parts) -> bytes:
    """100 frames of 1024 x 1024 bytes, all zero: half a megabyte in the file."""
    header = changed(own, size(1024, 1024, 100), {PIXEL_DATA: b""})
    return deflated(own, dataset(header) + zeros(PIXEL_DATA, 100), 100)


def deflated_numbers(own: Parts) -> bytes:
    """A position of ten million numbers: 90 KB in the file."""
    return deflated(own, dataset(own, text(POSITION, b"1\\" * 10_000_000 + b"1", "UT")))


def many_numbers(own: Parts) -> bytes:
    return changed(own, text(POSITION, b"1\\" * 4_000_000 + b"1", "UT")).assembled()


def long_number(own: Parts) -> bytes:
    return changed(own, text(INSTANCE, b"9" * 8_000_000, "UT")).assembled()


def rle_of_one_run(rows: int, cols: int) -> bytes:
    """The shortest RLE frame of that many zero bytes: runs of 128."""
    runs = b"\x81\0" * -(-rows * cols // 128)
    return struct.pack("<16I", 1, 64, *[0] * 14) + runs


def rle_that_expands(own: Parts) -> bytes:
    """300 frames of 2000 x 2000 in 19 MB: as dense as RLE can be, more than a series may have."""
    value = item(b"") + item(rle_of_one_run(2000, 2000)) * 300
    groups = b"".join(position_group(4.0 * number) for number in range(300))
    pixels = {PIXEL_DATA: encode(PIXEL_DATA, "OB", value, True)}
    per_frame = {GROUPS: encode(GROUPS, "SQ", groups)}
    return changed(own, size(2000, 2000, 300), pixels, per_frame, syntax=_RLE).assembled()


def rle_beyond_its_frame(own: Parts) -> bytes:
    """Runs for 400 times the pixels that the header names."""
    return packed(own, rle_of_one_run(64 * 20, 64 * 20), _RLE)


def position_group(height: float, tilt: float = 0.0) -> bytes:
    """The per-frame item of a frame at that height, rotated in its plane."""
    where = encode(0x00209113, "SQ", item(encode(POSITION, "DS", f"0\\0\\{height:.4f}".encode())))
    if not tilt:
        return item(where)
    angles = (np.cos(tilt), np.sin(tilt), 0, -np.sin(tilt), np.cos(tilt), 0)
    axes = encode(ORIENTATION, "DS", "\\".join(f"{angle:.8f}" for angle in angles).encode())
    return item(where + encode(0x00209116, "SQ", item(axes)))


def tiny_frames(own: Parts, count: int, tilt: float, syntax: str = "") -> bytes:
    """``count`` frames of one pixel, each with a place and, with ``tilt``, a direction."""
    groups = b"".join(position_group(number * 0.5, number * tilt) for number in range(count))
    if syntax:
        one = item(struct.pack("<16I", 1, 64, *[0] * 14) + b"\0\x07")
        pixels = {PIXEL_DATA: encode(PIXEL_DATA, "OB", item(b"") + one * count, True)}
    else:
        pixels = {PIXEL_DATA: encode(PIXEL_DATA, "OW", bytes(count))}
    per_frame = {GROUPS: encode(GROUPS, "SQ", groups)}
    return changed(own, size(1, 1, count), pixels, per_frame, syntax=syntax or None).assembled()


def nested(own: Parts, depth: int, undefined: bool) -> bytes:
    """A sequence in a sequence in a sequence."""
    tag = 0x0040A730
    if undefined:
        start = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
        opened = (start + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * depth
        closed = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0) * depth
        return changed(own, {tag: opened + closed}).assembled()
    inside = b""
    for _ in range(depth):
        inside = encode(tag, "SQ", item(inside))
    return changed(own, {GROUPS: encode(GROUPS, "SQ", item(inside))}).assembled()


def many_elements(own: Parts, count: int) -> bytes:
    """Empty elements of as many tags."""
    heads = np.zeros(count, np.dtype([("tag", "<u4"), ("rest", "S4")]))
    tags = 0x00090000 + np.arange(count)
    heads["tag"] = tags >> 16 | (tags & 0xFFFF) << 16
    heads["rest"] = b"SH"
    return changed(own, {0x0009FFFF: heads.tobytes()}).assembled()


def many_items(own: Parts, count: int) -> bytes:
    """Functional groups for a million frames, empty."""
    groups = {GROUPS: encode(GROUPS, "SQ", item(b"") * count)}
    return changed(own, groups, text(FRAMES, str(count), "IS")).assembled()


def overlapping_items(own: Parts) -> bytes:
    """Items that claim the bytes of the next ones, and more than their sequence has."""
    head = struct.pack("<HHI", 0xFFFE, 0xE000, 0x7FFFFFF0)
    inner = struct.pack("<HH2sHI", 0x0020, 0x9113, b"SQ", 0, 0x7FFFFFF0)
    groups = {GROUPS: encode(GROUPS, "SQ", (head + inner) * 2000)}
    return changed(own, size(1, 1, 2000), groups).assembled()


def endless_lengths(own: Parts) -> bytes:
    """Each of many private values claims all that follows it."""
    one = struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFF0)
    return changed(own, {0x00091001: one * 5000}).assembled()


def looks_nested(own: Parts) -> bytes:
    """Implicit encoding: every value looks as if it were a sequence of sequences."""
    inside = struct.pack("<HHI", 0xFFFE, 0xE000, 8 * 20000) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0
    ) * 20000  # fmt: skip
    one = struct.pack("<HHI", 0x5200, 0x9230, len(inside)) + inside
    head = b"".join(
        struct.pack("<HHI", tag >> 16, tag & 0xFFFF, 2) + struct.pack("<H", value)
        for tag, value in ((ROWS, 1), (COLS, 1), (0x00280100, 8), (0x00280101, 8))
    )
    pixels = struct.pack("<HHI", 0x7FE0, 0x0010, 4) + bytes(4)
    meta = changed(Parts(own.meta, {}), syntax=_IMPLICIT).assembled()
    return meta + head + one + pixels


def jpeg_of_more(own: Parts, syntax: str) -> bytes:
    """A codestream whose frame header says 65,500 x 65,500."""
    encoder = {
        _JPEG: lambda image: imagecodecs.jpeg8_encode(image, level=90),
        _LOSSLESS: lambda image: imagecodecs.jpeg8_encode(image, level=90, lossless=True),
        _JPEG_LS: imagecodecs.jpegls_encode,
    }[syntax]
    stream = bytearray(encoder(_IMAGE))
    place = frame_header(stream)
    stream[place + 5 : place + 9] = struct.pack(">HH", 65500, 65500)
    return packed(own, bytes(stream), syntax)


def frame_header(stream: bytes | bytearray) -> int:
    """Where the frame header of a JPEG or JPEG-LS stream starts."""
    place = 2
    while stream[place + 1] not in (0xC0, 0xC1, 0xC2, 0xC3, 0xF7):
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return place


def second_jpeg_frame(own: Parts) -> bytes:
    """A JPEG of the right size with a huge frame header behind its first."""
    stream = imagecodecs.jpeg8_encode(_IMAGE, level=90)
    place = frame_header(stream)
    length = 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    header = bytearray(stream[place : place + length])
    header[5:9] = struct.pack(">HH", 65500, 65500)
    return packed(own, stream[: place + length] + bytes(header) + stream[place + length :], _JPEG)


def codestream() -> bytearray:
    """A JPEG 2000 codestream of 64 x 64."""
    return bytearray(imagecodecs.jpeg2k_encode(_IMAGE, codecformat="j2k", reversible=True))


def jpeg_2000(own: Parts, *fields: tuple[int, str, int]) -> bytes:
    """A codestream with fields (offset in SIZ, format, value) of its size segment changed."""
    stream = codestream()
    start = stream.index(b"\xff\x51")
    for offset, form, value in fields:
        struct.pack_into(form, stream, start + offset, value)
    return packed(own, bytes(stream), JPEG_2000)


def many_components(rows_cols: int) -> bytes:
    """A whole codestream of 30 black components, half a kilobyte, of any size."""
    black = np.zeros((64, 64, 30), np.uint8)
    stream = bytearray(imagecodecs.jpeg2k_encode(black, codecformat="j2k", reversible=True))
    start = stream.index(b"\xff\x51")
    for offset in (6, 10, 22, 26):
        struct.pack_into(">I", stream, start + offset, rows_cols)
    return bytes(stream)


def jpeg_2000_of_many_components(own: Parts) -> bytes:
    """2,000 x 2,000 pixels, 30 times: the file names one component."""
    return packed(own, many_components(2000), JPEG_2000, size(2000, 2000))


def jpeg_2000_behind_a_decoy(own: Parts) -> bytes:
    """JP2 with a codestream of 2,000 x 2,000 x 30 behind bytes that look like one of 64 x 64."""

    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", len(content) + 8, kind) + content

    head = struct.pack(">IIHBBBB", 2000, 2000, 30, 7, 7, 0, 0)
    colour = struct.pack(">BBBI", 1, 0, 0, 17)
    stream = (
        box(b"jP  ", b"\r\n\x87\n")
        + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
        + box(b"uuid", bytes(16) + bytes(codestream()[:60]))
        + box(b"jp2h", box(b"ihdr", head) + box(b"colr", colour))
        + box(b"jp2c", many_components(2000))
    )
    return packed(own, stream, JPEG_2000)


def jpeg_2000_of_many_tiles(own: Parts) -> bytes:
    """A tile for each of 255 x 255 pixels."""
    stream = codestream()
    start = stream.index(b"\xff\x51")
    for offset, value in ((6, 255), (10, 255), (22, 1), (26, 1)):
        struct.pack_into(">I", stream, start + offset, value)
    return packed(own, bytes(stream), JPEG_2000, size(255, 255))


# A claim that costs nothing, if it costs nothing: the file may as well be converted.
HARMLESS = ""
# By name: the codes of which one must refuse the file, and what makes it of a plain slice.
BOMBS: dict[str, tuple[set[str], Callable[[Parts], bytes]]] = {
    "deflate bomb": ({"TOO_LARGE"}, deflate_bomb),
    "deflated frames": ({"TOO_LARGE", "NO_GEOMETRY"}, deflated_pixels),
    "deflated numbers": ({"BAD_HEADER"}, deflated_numbers),
    "millions of numbers": ({"BAD_HEADER"}, many_numbers),
    "a number of millions of digits": ({"BAD_HEADER"}, long_number),
    "RLE that expands": ({"TOO_LARGE"}, rle_that_expands),
    "RLE beyond its frame": ({"DECODE_FAILED", "TRUNCATED"}, rle_beyond_its_frame),
    "JPEG of more": ({"DECODE_FAILED"}, lambda own: jpeg_of_more(own, _JPEG)),
    "lossless JPEG of more": ({"DECODE_FAILED"}, lambda own: jpeg_of_more(own, _LOSSLESS)),
    "JPEG-LS of more": ({"DECODE_FAILED"}, lambda own: jpeg_of_more(own, _JPEG_LS)),
    "JPEG with a second frame": ({"DECODE_FAILED"}, second_jpeg_frame),
    "JPEG 2000 of more": (
        {"DECODE_FAILED"},
        lambda own: jpeg_2000(
            own, (6, ">I", 60000), (10, ">I", 60000), (22, ">I", 60000), (26, ">I", 60000)
        ),
    ),
    "JPEG 2000 with an origin": (
        {"DECODE_FAILED"},
        lambda own: jpeg_2000(
            own,
            (6, ">I", 2**31),
            (10, ">I", 2**31),
            (14, ">I", 2**31 - 64),
            (18, ">I", 2**31 - 64),
            (22, ">I", 2**31),
            (26, ">I", 2**31),
        ),
    ),
    "JPEG 2000 behind a decoy": ({"DECODE_FAILED"}, jpeg_2000_behind_a_decoy),
    "JPEG 2000 of 30 components": (
        {"DECODE_FAILED", "TOO_LARGE"},
        jpeg_2000_of_many_components,
    ),
    "JPEG 2000 of 65,025 tiles": ({"DECODE_FAILED", HARMLESS}, jpeg_2000_of_many_tiles),
    "huge frame": ({"TOO_LARGE"}, lambda own: changed(own, size(65535, 65535)).assembled()),
    "many frames": (
        {"TOO_LARGE"},
        lambda own: changed(own, size(64, 64, 2_000_000_000)).assembled(),
    ),
    "many packed frames": (
        {"TRUNCATED", "TOO_LARGE"},
        lambda own: packed(own, rle_of_one_run(64, 64), _RLE, size(1000, 1000, 5000)),
    ),
    "many JPEG 2000 frames": (
        {"TRUNCATED", "TOO_LARGE"},
        lambda own: packed(own, bytes(codestream()), JPEG_2000, size(4000, 4000, 4000)),
    ),
    "50,000 frames without a place": (
        {"TOO_LARGE"},
        lambda own: changed(
            own, size(1, 1, 50_000), {PIXEL_DATA: encode(PIXEL_DATA, "OW", bytes(50_000))}
        ).assembled(),
    ),
    "50,000 places": ({"TOO_LARGE", "BAD_HEADER"}, lambda own: tiny_frames(own, 50_000, 0.0)),
    "50,000 directions": (
        {"TOO_LARGE", "BAD_HEADER"},
        lambda own: tiny_frames(own, 50_000, 1e-4),
    ),
    "50,000 packed frames": (
        {"TOO_LARGE", "BAD_HEADER"},
        lambda own: tiny_frames(own, 50_000, 0.0, _RLE),
    ),
    "nested 10,000 deep": ({"BAD_HEADER"}, lambda own: nested(own, 10_000, undefined=True)),
    "nested 300 deep with lengths": (
        {"BAD_HEADER", HARMLESS},
        lambda own: nested(own, 300, undefined=False),
    ),
    "a million elements": ({"BAD_HEADER"}, lambda own: many_elements(own, 1_000_000)),
    "a million items": ({"TOO_LARGE"}, lambda own: many_items(own, 1_000_000)),
    "items that overlap": ({"BAD_HEADER", "NO_GEOMETRY", "TRUNCATED"}, overlapping_items),
    "lengths without end": ({"TRUNCATED"}, endless_lengths),
    "values that look nested": ({"BAD_HEADER", "NO_GEOMETRY"}, looks_nested),
}
# Numbers beyond all measure: each such file must be refused, or converted to numbers that tables
# can hold; in no case may it stop its shard.
NUMBERS: dict[str, dict[int, bytes]] = {
    "instance": text(INSTANCE, "1e300", "IS"),
    "instance of 64 bits": text(INSTANCE, "18446744073709551616", "IS"),
    "slope": text(SLOPE, "1e300"),
    "small slope": text(SLOPE, "1e-300"),
    "intercept": text(INTERCEPT, "1e300"),
    "intercept of 64 bits": text(INTERCEPT, "9223372036854775807"),
    "position": text(POSITION, "1e300\\-1e300\\1e300"),
    "far position": text(POSITION, "0\\0\\1e17"),
    "spacing": text(SPACING, "1e300\\1e300"),
    "small spacing": text(SPACING, "1e-300\\1e-300"),
    "step": text(SPACING_BETWEEN, "1e308"),
    "thickness": text(THICKNESS, "1e308"),
    "frames": text(FRAMES, "1e300", "IS"),
    "not a number": text(SLOPE, "nan"),
    "endless": text(POSITION, "0\\0\\inf"),
    "in words": text(POSITION, "0\\0\\1_0_0"),
}
