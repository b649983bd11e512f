"""No text of a DICOM file reaches a row, a volume, a log or the terminal, element by element."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import planted
import pytest
from dicom_helpers import AXIAL, voxels, write_slice, write_stack
from leaks import decoded, found_in, leaks_under, table_bytes
from planted import KINDS, NEEDED, PIXEL_DATA, TRANSFER_SYNTAX, encode, marker, planted_file
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from spinegrade.convert.header import read_headers
from spinegrade.convert.refusals import Refused
from spinegrade.convert.series import Converted, convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.source import SeriesSource
from spinegrade.volumes import open_volume

VOLUME = voxels(4, 6, 8)
# The first three slices are left whole; what is broken is made of the last.
WHOLE = ("1.dcm", "2.dcm", "3.dcm")
CODECS = (RLELossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)
_IMAGE_TYPE = 0x00080008
_BITS_STORED, _ROWS = 0x00280101, 0x00280010


@pytest.fixture
def slices(tmp_path: Path) -> list[Path]:
    """Four plain slices, from feet to head."""
    write_stack(tmp_path / "plain", VOLUME, AXIAL, shuffle=None)
    return sorted((tmp_path / "plain").iterdir())


@pytest.fixture
def said(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[[], bytes]]:
    """All that was logged, warned of and printed so far."""
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")

        def spoken() -> bytes:
            printed = capfd.readouterr()
            words = [caplog.text, printed.out, printed.err, *(str(w.message) for w in warned)]
            return "\n".join(words).encode("utf-8", "backslashreplace")

        yield spoken


def convert(folder: Path, files: dict[str, bytes]) -> Converted:
    """A series of these files, converted to ``folder``/out."""
    place = folder / "in"
    place.mkdir(exist_ok=True)
    for old in place.iterdir():
        old.unlink()
    for name, content in files.items():
        (place / name).write_bytes(content)
    source = SeriesSource("1", "2", "train", "axial", "t2", place)
    return convert_series(source, folder / "out", ConvertSettings(min_slices=2))


def header_leaks(folder: Path) -> list[str]:
    """Planted text in what the reader of headers alone says of the same files."""
    found = []
    for path in sorted((folder / "in").iterdir()):
        try:
            read_headers(path, ConvertSettings().max_frame_mb)
        except Refused as refused:
            found += found_in(f"{refused} {refused.found}".encode())
    return found


def leaks(folder: Path, result: Converted) -> list[str]:
    """Planted text in the rows, as Parquet holds them, and in the volumes."""
    found = leaks_under(folder / "out") if (folder / "out").exists() else []
    for rows in (result.stacks, result.slices, result.rejected):
        if rows:
            found += [what for part in decoded(table_bytes(rows)) for what in found_in(part)]
    return found


def volume_bytes(folder: Path, result: Converted) -> bytes:
    return (folder / "out" / result.stacks[0]["volume"]).read_bytes()


@pytest.mark.parametrize("vr", sorted(planted.TEXT))
def test_text_in_any_element_stays_behind(
    tmp_path: Path, slices: list[Path], said: Callable[[], bytes], vr: str
) -> None:
    plain = [planted.parts_of(path) for path in slices[:2]]
    expected = convert(tmp_path, {path.name: path.read_bytes() for path in slices[:2]})
    volume = volume_bytes(tmp_path, expected)
    wrong = []
    for tag in (tag for tag, kind in planted.ELEMENTS.items() if kind == vr):
        if tag in NEEDED or tag == TRANSFER_SYNTAX:
            continue
        files = {}
        for number, own in enumerate(plain):
            element = {tag: encode(tag, vr, marker(tag, number))}
            meta, body = (element, {}) if tag >> 16 == 2 else ({}, element)
            parts = planted.Parts(own.meta | meta, own.body | body)
            files[f"{number + 1}.dcm"] = parts.assembled()
        # Nothing at all may differ: then no text is there, in whatever disguise.
        result = convert(tmp_path, files)
        if result != expected or volume_bytes(tmp_path, result) != volume:
            wrong.append((f"{tag:08x}", result.rejected, leaks(tmp_path, result)))
    assert not wrong
    assert not leaks(tmp_path, expected)
    assert not found_in(said())


def test_text_everywhere_at_once_stays_behind(
    tmp_path: Path, slices: list[Path], said: Callable[[], bytes]
) -> None:
    files = {path.name: planted_file(path, number) for number, path in enumerate(slices)}
    for content in files.values():
        assert len(found_in(content)) > 2000
    result = convert(tmp_path, files)
    assert not result.rejected
    found = np.array(open_volume(tmp_path / "out" / result.stacks[0]["volume"]))
    np.testing.assert_array_equal(found, VOLUME)
    assert not leaks(tmp_path, result)
    assert not found_in(said())


def place(number: int) -> dict[int, bytes]:
    """The position of slice ``number`` behind the third: one that no other slice has."""
    return {0x00200032: encode(0x00200032, "DS", f"0\\0\\{12 + 4 * number}".encode())}


def functional_groups(number: int, position: float) -> bytes:
    """The per-frame item of one frame, with text wherever a frame may have some."""
    some = b"".join(
        encode(tag, vr, marker(tag, number))
        for tag, vr in list(planted.BODY.items())[:200]
        if tag not in NEEDED
    )
    where = encode(0x00200032, "DS", f"0\\0\\{position}".encode())
    return planted.item(
        some
        + encode(0x00189074, "SQ", planted.item(some))
        + encode(0x00209111, "SQ", planted.item(some, True), True)
        + encode(0x00209113, "SQ", planted.item(where))
    )


def test_text_in_the_groups_of_a_multi_frame_file_stays_behind(
    tmp_path: Path, said: Callable[[], bytes]
) -> None:
    path = write_slice(tmp_path / "one.dcm", VOLUME.reshape(24, 8), AXIAL, np.zeros(3), 1)
    own = planted.parts_of(path)
    del own.body[0x00200032]
    groups = b"".join(functional_groups(number, 4.0 * number) for number in range(4))
    changes = {
        _ROWS: encode(_ROWS, "US", struct.pack("<H", 6)),
        0x00280008: encode(0x00280008, "IS", b"4"),
        0x52009230: encode(0x52009230, "SQ", groups, True),
    }
    own.body |= changes
    result = convert(tmp_path, {"many.dcm": own.assembled()})
    assert not result.rejected and result.stacks[0]["slices"] == 4
    assert not leaks(tmp_path, result)
    assert not found_in(said())


@pytest.mark.parametrize("tag", sorted(NEEDED), ids=NEEDED.get)
def test_text_in_an_element_that_is_needed_costs_the_file_and_is_not_repeated(
    tmp_path: Path, slices: list[Path], said: Callable[[], bytes], tag: int
) -> None:
    text_kinds = [kind for kind in range(KINDS) if kind not in (1, 2)]
    files = {path.name: path.read_bytes() for path in slices[:3]}
    for kind in text_kinds:
        element = {tag: encode(tag, planted.ELEMENTS[tag], marker(tag, 1, kind))}
        files[f"9{kind}.dcm"] = planted_file(slices[3], kind, place(kind) | element)
    result = convert(tmp_path, files)
    expected = "COLOUR" if NEEDED[tag] == "PhotometricInterpretation" else "BAD_HEADER"
    assert {row["file"]: row["code"] for row in result.rejected} == {
        f"9{kind}.dcm": expected for kind in text_kinds
    }
    assert not leaks(tmp_path, result)
    assert not header_leaks(tmp_path)
    assert not found_in(said())


# Numbers that no scanner writes, as a record number or a birth date in the wrong place would be.
# Position, slope and intercept are not here: what is true of a number is all that they say.
DIGITS_IN_NUMBERS = {
    "frames": {0x00280008: planted.DIGITS},
    "frames below none": {0x00280008: "-" + planted.DIGITS},
    "frames of a date": {0x00280008: planted.BIRTH_DATE},
    "no spacing": {0x00280030: f"-{planted.DIGITS}\\1"},
    "spacing below none of a date": {0x00280030: f"-{planted.BIRTH_DATE}\\1"},
    "too few of a position": {0x00200032: f"{planted.DIGITS}\\{planted.BIRTH_DATE}"},
    "orientation": {0x00200037: "\\".join([planted.DIGITS] * 6)},
    "instance": {0x00200013: planted.DIGITS},
    "photometric": {0x00280004: planted.DIGITS},
    "photometric date": {0x00280004: planted.BIRTH_DATE},
}


@pytest.mark.parametrize("case", DIGITS_IN_NUMBERS)
def test_digits_in_the_wrong_place_cost_the_file_and_are_not_repeated(
    tmp_path: Path, slices: list[Path], said: Callable[[], bytes], case: str
) -> None:
    changes = {
        tag: encode(tag, planted.ELEMENTS[tag], value.encode())
        for tag, value in DIGITS_IN_NUMBERS[case].items()
    }
    files = {path.name: path.read_bytes() for path in slices[:3]}
    files["9.dcm"] = planted_file(slices[3], 1, changes)
    result = convert(tmp_path, files)
    assert [row["file"] for row in result.rejected] == ["9.dcm"]
    assert not leaks(tmp_path, result)
    assert not header_leaks(tmp_path)
    assert not found_in(said())


def fragments(*parts: bytes) -> bytes:
    """Encapsulated pixel data, with an empty offset table."""
    return planted.item(b"") + b"".join(
        planted.item(part + b"\0" * (len(part) % 2)) for part in parts
    )


def syntax(name: str | bytes) -> bytes:
    """The element that names the transfer syntax."""
    return encode(TRANSFER_SYNTAX, "UI", name if isinstance(name, bytes) else name.encode())


def broken_files(plain: Path) -> dict[str, tuple[str, bytes]]:
    """By file name: the code that it is refused by, and its bytes, with text where it breaks."""
    text = marker(PIXEL_DATA, 3, 0)
    everything = b"".join(marker(PIXEL_DATA, 3, kind) for kind in range(KINDS)) * 20

    def change(*elements: bytes) -> bytes:
        tags = [struct.unpack_from("<HH", element) for element in elements]
        replaced = {g << 16 | e: one for (g, e), one in zip(tags, elements, strict=True)}
        return planted_file(plain, 3, replaced)

    packed = encode(PIXEL_DATA, "OB", fragments(everything), True)
    whole = planted_file(plain, 3)
    body = zlib.compressobj(wbits=-15)
    deflated = planted.Parts({TRANSFER_SYNTAX: syntax("1.2.840.10008.1.2.1.99")}, {}).assembled()
    files = {
        "text.dcm": ("NOT_AN_IMAGE", everything),
        "report.dcm": ("TRUNCATED", bytes(128) + b"DICM" + everything),
        "no_pixels.dcm": ("NO_PIXELS", change(encode(PIXEL_DATA, "OW", b""))),
        "cut.dcm": ("TRUNCATED", whole[: len(whole) // 2]),
        "short.dcm": ("TRUNCATED", change(encode(PIXEL_DATA, "OW", text))),
        "bits.dcm": ("BAD_HEADER", change(encode(_BITS_STORED, "US", text))),
        "rows.dcm": ("BAD_HEADER", change(encode(_ROWS, "US", text))),
        "mosaic.dcm": (
            "MOSAIC",
            change(encode(_IMAGE_TYPE, "CS", b"ORIGINAL\\MOSAIC\\" + text)),
        ),
        "sequence.dcm": (
            "BAD_HEADER",
            change(encode(0x00081140, "SQ", everything, True)),
        ),
        "deflated.dcm": ("DECODE_FAILED", deflated + everything),
        "deflated_text.dcm": (
            "NOT_AN_IMAGE",
            deflated + body.compress(everything) + body.flush(),
        ),
        "fragment.dcm": (
            "DECODE_FAILED",
            change(
                syntax(RLELossless),
                encode(PIXEL_DATA, "OB", everything, True),
                # A position of its own, so that it is asked for its pixels.
                place(len(CODECS))[0x00200032],
            ),
        ),
    }
    for number, name in enumerate(CODECS):
        where = place(number)[0x00200032]
        broken = change(syntax(name), packed, where)
        files[f"pixels_{number}.dcm"] = ("DECODE_FAILED", broken)
    return files


def test_text_for_a_transfer_syntax_is_refused_and_not_repeated(
    tmp_path: Path, slices: list[Path], said: Callable[[], bytes]
) -> None:
    files = {path.name: path.read_bytes() for path in slices[:3]}
    packed = {PIXEL_DATA: encode(PIXEL_DATA, "OB", fragments(bytes(400)), True)}
    for kind in range(KINDS):
        name = {TRANSFER_SYNTAX: syntax(marker(TRANSFER_SYNTAX, 3, kind))}
        files[f"9{kind}.dcm"] = planted_file(slices[3], kind, place(kind) | packed | name)
    result = convert(tmp_path, files)
    assert {row["file"]: row["code"] for row in result.rejected} == {
        f"9{kind}.dcm": "UNSUPPORTED_SYNTAX" for kind in range(KINDS)
    }
    assert not leaks(tmp_path, result)
    assert not header_leaks(tmp_path)
    assert not found_in(said())


def test_broken_files_are_refused_without_their_words(
    tmp_path: Path, slices: list[Path], said: Callable[[], bytes]
) -> None:
    broken = broken_files(slices[3])
    files = {path.name: path.read_bytes() for path in slices[:3]}
    result = convert(tmp_path, files | {name: content for name, (_, content) in broken.items()})
    assert {row["file"]: row["code"] for row in result.rejected} == {
        name: code for name, (code, _) in broken.items()
    }
    assert len(result.stacks) == 1 and result.stacks[0]["slices"] == 3
    assert not leaks(tmp_path, result)
    assert not header_leaks(tmp_path)
    assert not found_in(said())


def test_comments_in_a_codestream_stay_behind(tmp_path: Path, said: Callable[[], bytes]) -> None:
    files = {}
    for number in range(3):
        stream = imagecodecs.jpeg8_encode((VOLUME[number] // 16).astype(np.uint8), level=95)
        text = marker(PIXEL_DATA, number, 0)
        comment = b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text
        path = write_slice(
            tmp_path / "one.dcm",
            (VOLUME[number] // 16).astype(np.uint8),
            AXIAL,
            np.array([0, 0, 4.0 * number]),
            number + 1,
        )
        changes = {
            TRANSFER_SYNTAX: syntax(JPEGBaseline8Bit),
            PIXEL_DATA: encode(
                PIXEL_DATA, "OB", fragments(stream[:2] + comment + stream[2:]), True
            ),
        }
        files[f"{number + 1}.dcm"] = planted_file(path, number, changes)
    result = convert(tmp_path, files)
    assert not result.rejected and len(result.stacks) == 1
    assert not leaks(tmp_path, result)
    assert not found_in(said())
