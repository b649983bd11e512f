"""How a file stores its pixels, and whether what it claims can be true of a file of its size."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from spinegrade.convert import tags
from spinegrade.convert.elements import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Elements,
)
from spinegrade.convert.fragments import split_frames
from spinegrade.convert.refusals import Refused

RLE = "1.2.840.10008.1.2.5"
JPEG_LOSSLESS = {"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"}
JPEG_LOSSY = {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55)}
JPEG_LS = {"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"}
JPEG_2000 = {f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 92, 93, 201, 202, 203)}
LOSSY = JPEG_LOSSY | {f"1.2.840.10008.1.2.4.{number}" for number in (81, 91, 93, 203)}
DECODED = {RLE, *JPEG_LOSSLESS, *JPEG_LOSSY, *JPEG_LS, *JPEG_2000}
# In which pixels may lie plain. None is declared ("") where there is no file meta information.
_PLAIN = {"", IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED, *DECODED}
_PRIVATE = {"1.2.840.113619.5.2": "the private syntax of GE, with big-endian pixels"}

# PackBits turns at best two bytes into 128.
RLE_GREATEST_RATIO = 64
# The other codecs have no such limit. A black slice in JPEG 2000 reaches some 2,600; files
# that stay small are let through, so that only a file that would fill the memory is refused.
CODEC_GREATEST_RATIO = 1000
CODEC_ALWAYS_ALLOWED_MB = 16
# What NIfTI can say of an axis.
GREATEST_SIZE = 32767

_COLOURS = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "HSV")


class PixelsNotRead(Exception):
    """Pixel bytes are asked for that a reader of headers has left in the file."""


@dataclass(frozen=True)
class Mosaic:
    """A sheet of ``rows`` x ``cols`` px that shows slices side by side, ``across`` in a row."""

    rows: int
    cols: int
    across: int


@dataclass(frozen=True)
class PixelFormat:
    """How the frames of one file are stored.

    ``rows``, ``cols``: of one slice (of one tile, where there is a ``mosaic``).
    ``compressed``: in fragments, in the transfer syntax ``syntax``; else plain numbers.
    ``data`` is the value of PixelData, None where only the header was read; ``data_bytes``
    its length in the file. ``shift``: how many bits below the value are not its own (HighBit
    of files older than 1996). ``padding``: the least and the greatest stored value that stand
    for no picture (PixelPaddingValue), None where none is declared.
    """

    rows: int
    cols: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    inverted: bool
    colour: str
    syntax: str
    big_endian: bool
    compressed: bool
    data_bytes: int
    data: memoryview | None = field(repr=False)
    mosaic: Mosaic | None = None
    shift: int = 0
    padding: tuple[int, int] | None = None

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Rows and columns of one stored frame: the whole sheet of a mosaic."""
        return (self.mosaic.rows, self.mosaic.cols) if self.mosaic else (self.rows, self.cols)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one stored frame when decoded."""
        rows, cols = self.stored_shape
        return rows * cols * self.bits_allocated // 8

    @property
    def slice_bytes(self) -> int:
        """Bytes of one slice when decoded."""
        return self.rows * self.cols * self.bits_allocated // 8

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest value that the stored bits can hold."""
        if self.signed:
            return -(1 << (self.bits_stored - 1)), (1 << (self.bits_stored - 1)) - 1
        return 0, (1 << self.bits_stored) - 1

    def value(self) -> memoryview:
        """The value of PixelData. Raises PixelsNotRead where only the header was read."""
        if self.data is None:
            raise PixelsNotRead
        return self.data

    @cached_property
    def encapsulated(self) -> list[bytes | memoryview] | Refused:
        """The compressed bytes of each frame, or why there are none; walked once."""
        try:
            return split_frames(self.value(), self.frames)
        except Refused as refused:
            return refused


def read_pixel_format(
    elements: Elements,
    syntax: str,
    place: tuple[int, int] | None,
    headers_only: bool,
    max_frame_mb: float,
) -> PixelFormat:
    """The pixel description of a dataset. Raises Refused for one that cannot be decoded.

    ``place``: first byte and length of PixelData's value in the file, None without one.
    """
    rows = elements.whole(tags.ROWS, None, "Rows")
    cols = elements.whole(tags.COLUMNS, None, "Columns")
    frames = int(elements.number(tags.NUMBER_OF_FRAMES, 1.0, "NumberOfFrames"))
    allocated = elements.whole(tags.BITS_ALLOCATED, 16, "BitsAllocated")
    stored = elements.whole(tags.BITS_STORED, allocated, "BitsStored")
    high_bit = elements.whole(tags.HIGH_BIT, stored - 1, "HighBit")
    if place is None or not place[1]:
        if not elements.values.keys().isdisjoint(tags.FLOAT_PIXEL_DATA):
            raise Refused("UNSUPPORTED_SYNTAX", "float pixels are not read")
        if elements.cut:
            raise Refused("TRUNCATED", "the file ends before its pixel data")
        raise Refused("NO_PIXELS", "there is no pixel data in the file")
    if rows < 1 or cols < 1 or frames < 1 or not 1 <= stored <= allocated:
        found = f"{rows} rows, {cols} columns, {stored} of {allocated} bits"
        raise Refused("BAD_HEADER", f"{found}{', no frames' if frames < 1 else ''}")
    if not stored - 1 <= high_bit < allocated:
        found = f"HighBit is {high_bit}, with {stored} of {allocated} bits stored"
        raise Refused("BAD_HEADER", f"{found}; {stored - 1} was expected")
    if max(rows, cols, frames) > GREATEST_SIZE:
        raise Refused("TOO_LARGE", f"more rows, columns or frames than {GREATEST_SIZE}")
    photometric = elements.text(tags.PHOTOMETRIC)
    grey = photometric in ("MONOCHROME1", "MONOCHROME2", "")
    # Only known words are repeated: a broken file may hold anything in any place.
    known = photometric if photometric in _COLOURS else "an unknown photometric interpretation"
    signed = elements.whole(tags.REPRESENTATION, 0, "PixelRepresentation") == 1
    pixels = PixelFormat(
        rows=rows,
        cols=cols,
        frames=frames,
        samples=elements.whole(tags.SAMPLES, 1, "SamplesPerPixel"),
        bits_allocated=allocated,
        bits_stored=stored,
        signed=signed,
        inverted=photometric == "MONOCHROME1",
        colour="" if grey else known,
        syntax=syntax,
        big_endian=not elements.is_little(tags.PIXEL_DATA),
        # What lies there counts, not what is declared: some files declare a compression
        # that their plain pixels do not have.
        compressed=elements.has_fragments(tags.PIXEL_DATA),
        data_bytes=place[1],
        data=None if headers_only else elements.view(tags.PIXEL_DATA),
        shift=high_bit + 1 - stored,
        padding=_padding(elements, signed),
    )
    _check_format(pixels)
    _check_size(pixels, max_frame_mb)
    return pixels


def _padding(elements: Elements, signed: bool) -> tuple[int, int] | None:
    """The stored values that stand for no picture: from PixelPaddingValue to its limit."""
    if tags.PADDING not in elements.values:
        return None
    ends = []
    for tag in (tags.PADDING, tags.PADDING_LIMIT):
        value = elements.raw(tag)
        # Of another length it is damaged, and pads nothing.
        if value is not None and len(value) == 2:
            order = "little" if elements.is_little(tag) else "big"
            ends.append(int.from_bytes(value, order, signed=signed))
        elif tag == tags.PADDING:
            return None
    return min(ends), max(ends)


def _check_format(pixels: PixelFormat) -> None:
    """Raise Refused for colour, odd depths and transfer syntaxes that are not decoded."""
    if pixels.samples != 1 or pixels.colour:
        found = f"{pixels.samples} samples a pixel, {pixels.colour or 'no colour named'}"
        raise Refused("COLOUR", found)
    if pixels.bits_allocated not in (8, 16, 32):
        raise Refused("UNSUPPORTED_SYNTAX", f"{pixels.bits_allocated} bits are allocated a pixel")
    if pixels.compressed and pixels.syntax not in DECODED:
        raise Refused("UNSUPPORTED_SYNTAX", f"{_syntax_name(pixels.syntax)}, in fragments")
    # Some files declare a compression that their plain pixels do not have. A syntax that is not
    # the standard's may order their bytes in any way.
    if not pixels.compressed and pixels.syntax not in _PLAIN and not _of_standard(pixels.syntax):
        raise Refused("UNSUPPORTED_SYNTAX", f"{_syntax_name(pixels.syntax)}, not compressed")


def _of_standard(syntax: str) -> bool:
    from pydicom.uid import UID_dictionary  # see _syntax_name

    return UID_dictionary.get(syntax, ("", ""))[1] == "Transfer Syntax"


def _syntax_name(syntax: str) -> str:
    # Imported here: its dictionaries take a while to load, for the rarest of messages.
    from pydicom.config import IGNORE
    from pydicom.uid import UID

    # Validation would log what it does not know.
    uid = UID(syntax, IGNORE)
    if syntax in _PRIVATE:
        return _PRIVATE[syntax]
    return uid.name if uid.is_transfer_syntax else "an unknown transfer syntax"


def _check_size(pixels: PixelFormat, max_frame_mb: float) -> None:
    """Raise Refused where rows, columns and frames ask for more than such a file can hold."""
    size_mb = pixels.frame_bytes / 2**20
    rows, cols = pixels.stored_shape
    if size_mb > max_frame_mb:
        raise Refused("TOO_LARGE", f"one frame of {rows} x {cols} needs {size_mb:.0f} MB")
    wanted = pixels.frame_bytes * pixels.frames
    stored = pixels.data_bytes
    if not pixels.compressed:
        if stored < wanted:
            raise Refused("TRUNCATED", f"{stored} bytes of pixels, expected {wanted}")
    elif pixels.syntax == RLE:
        if wanted > RLE_GREATEST_RATIO * stored:
            found = f"{stored} bytes of run lengths cannot hold {wanted} bytes of pixels"
            raise Refused("TRUNCATED", found)
    elif wanted > max(CODEC_GREATEST_RATIO * stored, CODEC_ALWAYS_ALLOWED_MB * 2**20):
        found = f"{wanted / 2**20:.0f} MB of pixels in {stored} compressed bytes"
        raise Refused("TOO_LARGE", found)
