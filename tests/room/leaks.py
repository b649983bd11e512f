"""The search for planted text in whatever a run has written, decoded as far as it can be."""

from __future__ import annotations

import base64
import gzip
import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from planted import BEYOND_ASCII, BIRTH_DATE, DIGITS, LETTERS

_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_DATA_URI = re.compile(rb"base64,([A-Za-z0-9+/=\s]+)")


def _written(text: str) -> set[bytes]:
    """``text`` in every encoding and escape in which a program may write it."""
    ways = {text.encode(code) for code in ("utf-8", "latin-1", *_WIDE)}
    ways |= {text.encode("utf-8").hex().encode(), text.encode("utf-16-le").hex().encode()}
    if not text.isascii():
        ways |= {
            ascii(text)[1:-1].encode(),
            repr(text.encode("latin-1"))[2:-1].encode(),
            repr(text.encode())[2:-1].encode(),
            "".join(f"\\u{ord(letter):04x}" for letter in text).encode(),
            text.encode("ascii", "xmlcharrefreplace"),
        }
    return ways


# Lower case, since the search is in what has been turned to lower case.
NEEDLES = sorted(
    {way.lower() for text in (LETTERS, DIGITS, BEYOND_ASCII) for way in _written(text)}
    | {BIRTH_DATE.encode(code) for code in _WIDE}
)
_YEAR, _MONTH, _DAY = BIRTH_DATE[:4], BIRTH_DATE[4:6], BIRTH_DATE[6:]
_DATE = re.compile(
    "|".join(
        rf"(?<!\d){order}(?!\d)"
        for order in (
            rf"{_YEAR}[-./ ]?{_MONTH}[-./ ]?{_DAY}",
            rf"{_DAY}[-./ ]{_MONTH}[-./ ]{_YEAR}",
            rf"{_MONTH}[-./ ]{_DAY}[-./ ]{_YEAR}",
        )
    ).encode()
)


def found_in(data: bytes) -> list[str]:
    """Every planted text in ``data``, with some of what stands around it."""
    lower = data.lower()
    places = [match.start() for match in _DATE.finditer(lower)] if _YEAR.encode() in lower else []
    for needle in NEEDLES:
        place = lower.find(needle)
        while place >= 0:
            places.append(place)
            place = lower.find(needle, place + 1)
    return [ascii(data[max(place - 30, 0) : place + 60]) for place in sorted(places)]


def decoded(data: bytes) -> Iterator[bytes]:
    """``data`` and whatever is packed inside it: tables, archives, pictures, data URIs."""
    yield data
    if data[:4] == b"PAR1":
        yield from _parquet(data)
    elif data[:2] == b"\x1f\x8b":
        yield from decoded(gzip.decompress(data))
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        yield from _png(data)
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield from decoded(archive.read(name))
    for uri in _DATA_URI.finditer(data):
        yield from decoded(base64.b64decode(uri[1]))


def _parquet(data: bytes) -> Iterator[bytes]:
    file = pq.ParquetFile(io.BytesIO(data))
    for key, value in (file.schema_arrow.metadata or {}).items():
        yield key
        yield value
    yield str(file.metadata).encode()
    yield str(file.schema).encode()
    table = file.read()
    for name, column in zip(table.column_names, table.columns, strict=True):
        words = [name]
        for value in column.to_pylist():
            words.append(str(value))
            if isinstance(value, float) and abs(value) > 1e6 and math.isfinite(value):
                words.append(f"{value:.0f}")
        yield "\n".join(words).encode("utf-8", "surrogateescape")


def _png(data: bytes) -> Iterator[bytes]:
    place = 8
    pixels = b""
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        chunk = data[place + 8 : place + 8 + length]
        place += 12 + length
        if kind == b"IDAT":
            pixels += chunk
        elif kind in (b"zTXt", b"iTXt", b"iCCP"):
            for start in range(len(chunk)):
                try:
                    yield zlib.decompressobj().decompress(chunk[start:])
                    break
                except zlib.error:
                    continue
    yield zlib.decompress(pixels)


def leaks_of(path: Path) -> list[str]:
    """Planted text in one file, decoded: one line a find."""
    found = {what for part in decoded(path.read_bytes()) for what in found_in(part)}
    return sorted(f"{path}: {what}" for what in found)


def leaks_under(folder: Path) -> list[str]:
    """Planted text in every file below ``folder`` and in the names of files and folders."""
    found = []
    for path in sorted(folder.rglob("*")):
        found += [f"name of {path}" for _ in found_in(path.name.encode("utf-8", "replace"))]
        if path.is_file():
            found += leaks_of(path)
    return found


def table_bytes(rows: list[dict[str, object]]) -> bytes:
    """Rows as the Parquet file that a run would write of them."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()
