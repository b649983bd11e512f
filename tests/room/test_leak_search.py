"""The search for planted text finds it in every kind of file that a run writes."""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from leaks import found_in, leaks_of, leaks_under
from planted import BEYOND_ASCII, BIRTH_DATE, DIGITS, ELEMENTS, KINDS, LETTERS, marker
from safetensors.torch import save_file


def png(text: bytes) -> bytes:
    """A picture of one pixel with a compressed text chunk."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    words = b"Comment\0\0" + zlib.compress(text)
    pixel = zlib.compress(b"\0\0")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part)
        for part in ((b"IHDR", head), (b"zTXt", words), (b"IDAT", pixel), (b"IEND", b""))
    )


def zipped(text: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.txt", text)
    return stream.getvalue()


def parquet(values: list[object]) -> bytes:
    stream = io.BytesIO()
    pd.DataFrame({"column": values}).to_parquet(stream)
    return stream.getvalue()


def in_page(data: bytes) -> bytes:
    return b'<img src="data:x;base64,' + base64.b64encode(data) + b'">'


NAME = f"{LETTERS}00010002"
HIDDEN = {
    "plain.log": f"study {NAME.swapcase()} is odd".encode(),
    "wide.bin": b"\1" + NAME.encode("utf-16-be"),
    "hex.log": NAME.encode().hex().encode(),
    "digits.tsv": f"1\t{DIGITS}7".encode(),
    "date.csv": f"a,{BIRTH_DATE}".encode(),
    "date.html": b"born 1887-02-13",
    "date_of_europe.html": b"born 13.02.1887",
    "beyond_utf8.txt": BEYOND_ASCII.encode(),
    "beyond_latin.txt": BEYOND_ASCII.encode("latin-1"),
    "beyond.json": json.dumps(BEYOND_ASCII).encode(),
    "beyond.repr": ascii(BEYOND_ASCII).encode(),
    "beyond_bytes.repr": repr(BEYOND_ASCII.encode("latin-1")).encode(),
    "beyond.html": BEYOND_ASCII.encode("ascii", "xmlcharrefreplace"),
    "text.parquet": parquet([f"{place:05d} {NAME}" for place in range(100)]),
    "bytes.parquet": parquet([NAME.encode()]),
    "number.parquet": parquet([float(DIGITS)]),
    "date.parquet": parquet([pd.Timestamp("1887-02-13").date()]),
    "packed.gz": gzip.compress(NAME.encode()),
    "packed.pt": zipped(NAME.encode()),
    "picture.png": png(NAME.encode()),
    "page.html": in_page(png(NAME.encode())),
    "page_in_page.html": in_page(in_page(NAME.encode("utf-16-le"))),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_text_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(HIDDEN[name])
    assert leaks_of(tmp_path / name)


def test_text_in_the_files_of_networks_is_found(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", {"trained_on": NAME})
    torch.save({"note": NAME}, tmp_path / "c.pt")
    np.save(tmp_path / "a.npy", np.array([NAME]))
    (tmp_path / f"{NAME}.txt").write_text("")
    (tmp_path / "innocent.txt").write_text("1887-02-14, 118870213, 1.8870213e7")
    found = leaks_under(tmp_path)
    for file in ("w.safetensors", "c.pt", "a.npy", f"{NAME}.txt"):
        assert any(file in line for line in found), file
    assert not any("innocent" in line for line in found)


@pytest.mark.parametrize("kind", range(KINDS))
def test_every_kind_of_marker_is_found(kind: int) -> None:
    # A marker as it is, and as a program would show it that read it as text.
    value = marker(next(iter(ELEMENTS)), 12, kind)
    assert found_in(value)
    assert found_in(value.decode("latin-1").encode())
    assert found_in(repr(value).encode()) or kind == 5  # bytes with a zero after each letter


def test_markers_of_elements_and_files_differ() -> None:
    made = {marker(tag, file, 0) for tag in ELEMENTS for file in (1, 2)}
    assert len(made) > 1.99 * len(ELEMENTS)
