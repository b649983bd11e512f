"""Names, numbers and dates planted into every place of a DICOM file that can hold text.

``planted_file`` writes them, element by element in raw bytes, so that no value
representation's own rules keep one out. ``leaks.py`` finds them again.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.datadict import DicomDictionary, RepeatersDictionary

# No output holds these by chance: ten letters, fifteen digits, letters beyond ASCII, a date.
LETTERS = "ZqJxWvKpYh"
DIGITS = "731640825919733"
BEYOND_ASCII = "ÄßÖñøÞ"
BIRTH_DATE = "18870213"

TEXT = {
    *("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT"),
    *("PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"),
}
_LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT"}

# Text elements that conversion reads: text in one of them costs the file, by a code.
NEEDED = {
    0x00180050: "SliceThickness",
    0x00180088: "SpacingBetweenSlices",
    0x00200013: "InstanceNumber",
    0x00200032: "ImagePositionPatient",
    0x00200037: "ImageOrientationPatient",
    0x00280004: "PhotometricInterpretation",
    0x00280008: "NumberOfFrames",
    0x00280030: "PixelSpacing",
    0x00281052: "RescaleIntercept",
    0x00281053: "RescaleSlope",
}
TRANSFER_SYNTAX = 0x00020010
META_LENGTH = 0x00020000
PIXEL_DATA = 0x7FE00010
# Identifiers that all slices of a series share.
_SHARED = (0x0020000D, 0x0020000E)


def text_elements() -> dict[int, str]:
    """{tag: VR} of every text element of DICOM's dictionary, repeating groups at two places."""
    found = {tag: entry[0] for tag, entry in DicomDictionary.items()}
    for mask, entry in RepeatersDictionary.items():
        for number in (0, 2):
            place = iter(f"{number:0{mask.count('x')}d}")
            tag = int("".join(next(place) if letter == "x" else letter for letter in mask), 16)
            found.setdefault(tag, entry[0])
    # Groups 0 and FFFE are messages on the network and item delimiters, not parts of a file.
    return {
        tag: vr for tag, vr in sorted(found.items()) if vr in TEXT and 0x0002 <= tag >> 16 < 0xFFFE
    }


ELEMENTS = text_elements()
META = {tag: vr for tag, vr in ELEMENTS.items() if tag >> 16 == 2 and tag != TRANSFER_SYNTAX}
BODY = {tag: vr for tag, vr in ELEMENTS.items() if tag >> 16 > 2}
_NUMBER_OF = {tag: number for number, tag in enumerate(ELEMENTS)}


def marker(tag: int, file: int, kind: int | None = None) -> bytes:
    """What is planted at ``tag`` of file number ``file``: one of seven kinds, chosen by both.

    Letters and digits carry both numbers; the birth date cannot, and stands as DICOM has it.
    """
    number = _NUMBER_OF.get(tag, tag & 0xFFFF)
    if tag in _SHARED:
        file = 0
    name = f"{LETTERS}{file:04d}{number:05d}"
    kinds = (
        name.encode(),
        f"{DIGITS}{file:04d}{number:05d}".encode(),
        BIRTH_DATE.encode(),
        f"{name}^{BEYOND_ASCII}".encode("latin-1"),
        f"{BEYOND_ASCII}^{name}".encode(),
        f"{name}^{BEYOND_ASCII}".encode("utf-16"),
        f"{BIRTH_DATE}\\{name}\\{DIGITS}".encode(),
    )
    return kinds[(number + file) % len(kinds) if kind is None else kind]


KINDS = 7


def encode(tag: int, vr: str, value: bytes, undefined: bool = False) -> bytes:
    """One element, explicit little endian; ``undefined``: items up to a delimiter."""
    group, element = tag >> 16, tag & 0xFFFF
    if not undefined and len(value) % 2:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    head = struct.pack("<HH2s", group, element, vr.encode())
    if vr not in _LONG:
        return head + struct.pack("<H", len(value)) + value
    length = 0xFFFFFFFF if undefined else len(value)
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) if undefined else b""
    return head + struct.pack("<HI", 0, length) + value + end


def item(content: bytes, undefined: bool = False) -> bytes:
    """One item of a sequence."""
    if not undefined:
        return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    return struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + content + end


@dataclass
class Parts:
    """A DICOM file in pieces: encoded elements by tag, and the 128 bytes before all."""

    meta: dict[int, bytes]
    body: dict[int, bytes]
    preamble: bytes = field(default=bytes(128))

    def assembled(self) -> bytes:
        """The bytes of the file, elements in the order of their tags."""
        meta = b"".join(self.meta[tag] for tag in sorted(self.meta) if tag != META_LENGTH)
        length = encode(META_LENGTH, "UL", struct.pack("<I", len(meta)))
        body = b"".join(self.body[tag] for tag in sorted(self.body))
        return self.preamble + b"DICM" + length + meta + body


def parts_of(path: Path) -> Parts:
    """The elements of an explicit little endian file as they are stored."""
    dataset = pydicom.dcmread(path)

    def encoded() -> Iterator[tuple[int, bytes]]:
        for tag in dataset.keys():  # noqa: SIM118
            raw = dataset.get_item(tag)
            if not isinstance(raw, pydicom.dataelem.RawDataElement):
                raise ValueError(f"{path}: {tag} was read before it could be copied")
            value = raw.value or b""
            yield int(tag), encode(int(tag), str(raw.VR), value, raw.length == 0xFFFFFFFF)

    syntax = str(dataset.file_meta.TransferSyntaxUID).encode()
    return Parts({TRANSFER_SYNTAX: encode(TRANSFER_SYNTAX, "UI", syntax)}, dict(encoded()))


def texts(tags: Iterable[int], file: int) -> dict[int, bytes]:
    """Encoded markers at every one of ``tags``."""
    return {tag: encode(tag, ELEMENTS[tag], marker(tag, file)) for tag in tags}


def everywhere(file: int) -> Parts:
    """Markers at every text element, in sequences, private and binary elements, in the preamble.

    Only what conversion needs is left free, at the top level; nested it is planted as well.
    """
    meta = texts(META, file)
    body = texts((tag for tag in BODY if tag not in NEEDED), file)
    inner = b"".join(body.values()) + b"".join(texts(NEEDED, file).values())
    some = b"".join(texts(itertools.islice(BODY, 40, 70), file).values())
    deep = some
    for level in range(6):
        deep = encode(0x0040A730, "SQ", item(some + deep, level % 2 == 0), level % 3 == 0)
    body[0x00081140] = encode(0x00081140, "SQ", item(inner) + item(some, True), True)
    body[0x00400275] = encode(0x00400275, "SQ", item(some) * 3)
    body[0x0040A730] = deep
    icon = some + encode(PIXEL_DATA, "OB", marker(PIXEL_DATA, file, 0))
    body[0x00880200] = encode(0x00880200, "SQ", item(icon, True), True)
    # A private block: its owner, each text representation, unknown and binary values.
    body[0x00090010] = encode(0x00090010, "LO", marker(0x00090010, file, 0))
    for place, vr in enumerate([*sorted(TEXT), "UN", "OB", "OW"]):
        tag = 0x00091000 + place
        body[tag] = encode(tag, vr, marker(tag, file))
    body[0x00091050] = encode(0x00091050, "SQ", item(some))
    # The vendors' private headers, overlays, embedded documents, padding behind the pixels.
    body[0x00290010] = encode(0x00290010, "LO", b"SIEMENS CSA HEADER")
    for tag, vr in ((0x00291010, "OB"), (0x00291020, "UN"), (0x00420011, "OB")):
        body[tag] = encode(tag, vr, marker(tag, file, 0) * 9)
    for tag, vr in ((0x60003000, "OW"), (0xFFFCFFFC, "OB")):
        body[tag] = encode(tag, vr, b"".join(marker(tag, file, kind) for kind in range(KINDS)))
    preamble = b"".join(marker(tag, file, tag) for tag in (0, 1, 2, 3, 6))
    return Parts(meta, body, preamble[:128].ljust(128, b"\0"))


def planted_file(path: Path, file: int, changes: Mapping[int, bytes] | None = None) -> bytes:
    """The file at ``path`` with markers everywhere, its own pixels and geometry kept.

    ``changes``: encoded elements that replace what the file needs.
    """
    own, planted = parts_of(path), everywhere(file)
    kept = {tag: value for tag, value in own.body.items() if tag not in planted.body}
    merged = Parts(own.meta | planted.meta, planted.body | kept, planted.preamble)
    for tag, value in (changes or {}).items():
        (merged.meta if tag >> 16 == 2 else merged.body)[tag] = value
    return merged.assembled()
