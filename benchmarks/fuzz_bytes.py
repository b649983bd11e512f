"""Ways in which the bytes of a DICOM file can lie, each a function of bytes and chance."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from fuzz_seeds import TEXT, seeds
from scanner_helpers import CODECS, NATIVE

_EDGES = {
    1: [0, 1, 0x7F, 0x80, 0xFE, 0xFF],
    2: [0, 1, 2, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x0100, 4096],
    4: [0, 1, 2, 3, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x10000, 0x1000000],
}
_NUMBERS = [
    *("0", "-0", "1", "-1", "1e-30", "1e-300", "1e9", "1e18", "1e19", "1e30", "-1e30", "1e200"),
    *("1e300", "-1e300", "1.7e308", "nan", "-nan", "inf", "-inf", "1e400", "9" * 30, "0.5"),
    *("", " ", "\\", "1\\", "abc", "1_0", "0x10", "\u0661", "1e", "--1", "2147483648", "65536"),
]
_DECIMALS = {
    0x00200013: 1,  # InstanceNumber
    0x00200032: 3,  # ImagePositionPatient
    0x00200037: 6,  # ImageOrientationPatient
    0x00280030: 2,  # PixelSpacing
    0x00180050: 1,  # SliceThickness
    0x00180088: 1,  # SpacingBetweenSlices
    0x00180081: 1,  # EchoTime
    0x00280008: 1,  # NumberOfFrames
    0x00281052: 1,  # RescaleIntercept
    0x00281053: 1,  # RescaleSlope
}
_WORDS = (0x00280002, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280103)
_PIXELS = 0x7FE00010
_NAMED = (
    *(*_DECIMALS, *_WORDS, _PIXELS, 0x00020010, 0x00280004, 0x00100010, 0x00100020, 0x00081140),
    *(0x00080008, 0x0020000D, 0x00111001, 0x00291010, 0x52009229, 0x52009230, 0x00209113),
)
_VRS = b"AEASATCSDADSDTFDFLISLOLTOBODOFOLOVOWPNSHSLSQSSSTSVTMUCUIULUNURUSUTUVZZ\0\0??"
Damage = Callable[[bytes, random.Random], bytes]


def _pack(tag: int, big: bool = False) -> bytes:
    return struct.pack(">HH" if big else "<HH", tag >> 16, tag & 0xFFFF)


def _find(data: bytes, tag: int, chance: random.Random) -> tuple[int, int, int, int, str] | None:
    """A place of ``tag``: first byte, length's place and width, value's place, byte order."""
    for order in "<>":
        mark = _pack(tag, order == ">")
        places, at = [], data.find(mark)
        while at >= 0 and len(places) < 40:
            places.append(at)
            at = data.find(mark, at + 4)
        if not places:
            continue
        at = chance.choice(places)
        vr = data[at + 4 : at + 6]
        if not (vr.isalpha() and vr.isupper()):
            return at, at + 4, 4, at + 8, order
        if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
            return at, at + 8, 4, at + 12, order
        return at, at + 6, 2, at + 8, order
    return None


def _place(data: bytes, chance: random.Random) -> int:
    """Anywhere, but mostly in the header."""
    return chance.randrange(max(min(len(data), chance.choice([400, 1500, 10**7])), 1))


def flip_bits(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 8, 40])):
        changed[_place(data, chance)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def edge_values(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4])):
        width = chance.choice([1, 2, 4])
        value = chance.choice(_EDGES[width]).to_bytes(width, chance.choice(["little", "big"]))
        at = _place(data, chance)
        changed[at : at + width] = value
    return bytes(changed)


def lie_about_length(data: bytes, chance: random.Random) -> bytes:
    found = _find(data, chance.choice(_NAMED), chance)
    if found is None:
        return flip_bits(data, chance)
    _, at, width, _, order = found
    true = int.from_bytes(data[at : at + width], "little" if order == "<" else "big")
    near = (true + chance.choice([-2, -1, 1, 2, 8])) % (1 << 8 * width)
    value = chance.choice([*_EDGES[width], near, len(data) % (1 << 8 * width)])
    new = value.to_bytes(width, "little" if order == "<" else "big")
    return data[:at] + new + data[at + width :]


def replace_vr(data: bytes, chance: random.Random) -> bytes:
    found = _find(data, chance.choice(_NAMED), chance)
    if found is None:
        return flip_bits(data, chance)
    at = 2 * chance.randrange(len(_VRS) // 2)
    return data[: found[0] + 4] + _VRS[at : at + 2] + data[found[0] + 6 :]


def swap_tags(data: bytes, chance: random.Random) -> bytes:
    """Two tags exchanged, or one written over another: values at the wrong names."""
    one, other = chance.sample(_NAMED, 2)
    found = _find(data, one, chance), _find(data, other, chance)
    changed = bytearray(data)
    for target, tag in zip(found, (other, one), strict=True):
        if target is not None and (target is found[0] or chance.random() < 0.5):
            changed[target[0] : target[0] + 4] = _pack(tag, target[4] == ">")
    return bytes(changed)


def move_chunks(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    size = chance.choice([1, 2, 4, 8, 50, 500, len(data)])
    kind = chance.randrange(5)
    if kind == 0:
        return data[:at] + data[at + size :]
    if kind == 1:
        return data[: at + size] + data[at : at + size] + data[at + size :]
    if kind == 2:
        return data[:at]
    filler = chance.choice([chance.randbytes(min(size, 500)), b"\0" * size, b"\xff" * size])
    return data[:at] + filler + data[at if kind == 3 else at + size :]


def splice(data: bytes, chance: random.Random) -> bytes:
    _, _, files = chance.choice(seeds())
    other = chance.choice(list(files.values()))
    tag = chance.choice(_NAMED)
    mine, theirs = _find(data, tag, chance), _find(other, tag, chance)
    if mine and theirs and chance.random() < 0.7:
        return data[: mine[0]] + other[theirs[0] :]
    return data[: _place(data, chance)] + other[_place(other, chance) :]


def odd_numbers(data: bytes, chance: random.Random) -> bytes:
    """One decimal field replaced, its length made true."""
    tag = chance.choice(list(_DECIMALS))
    found = _find(data, tag, chance)
    if found is None:
        return flip_bits(data, chance)
    _, at, width, value, order = found
    byteorder = "little" if order == "<" else "big"
    length = int.from_bytes(data[at : at + width], byteorder)
    parts = data[value : value + length].split(b"\\")
    if chance.random() < 0.3:
        parts = [chance.choice(_NUMBERS).encode()] * chance.choice([1, _DECIMALS[tag], 7, 5000])
    else:
        parts[chance.randrange(len(parts))] = chance.choice(_NUMBERS).encode()
    text = b"\\".join(parts)
    text = text[:65000] + b" " * (len(text) % 2)
    head = data[:at] + len(text).to_bytes(width, byteorder)
    return head + text + data[value + length :]


def odd_words(data: bytes, chance: random.Random) -> bytes:
    """Rows, columns, bits or samples set to an edge."""
    found = _find(data, chance.choice(_WORDS), chance)
    if found is None:
        return flip_bits(data, chance)
    value = chance.choice([*_EDGES[2], 8, 12, 16, 24, 32, 64, chance.randrange(1, 9000)])
    at = found[3]
    return data[:at] + struct.pack(found[4] + "H", value) + data[at + 2 :]


def nest_deeply(data: bytes, chance: random.Random) -> bytes:
    """A sequence in a sequence in a sequence, of defined, undefined or untrue length."""
    depth = chance.choice([2, 10, 31, 33, 100, 3000])
    explicit = chance.random() < 0.7
    length = struct.pack("<I", chance.choice([0xFFFFFFFF, 0xFFFFFFFF, 1 << 20, 0x7FFFFFFF]))
    vr = chance.choice([b"SQ\0\0", b"UN\0\0"]) if explicit else b""
    one = _pack(0x00081140) + vr + length + _pack(0xFFFEE000) + length
    closing = (_pack(0xFFFEE00D) + b"\0" * 4 + _pack(0xFFFEE0DD) + b"\0" * 4) * depth
    nested = one * depth + closing * (chance.random() < 0.6)
    found = _find(data, chance.choice(_NAMED), chance)
    at = found[0] if found else _place(data, chance)
    return data[:at] + nested + data[at:]


def lie_about_items(data: bytes, chance: random.Random) -> bytes:
    """Lengths of sequence items, fragments and offset tables; delimiters for items."""
    mark = _pack(chance.choice([0xFFFEE000, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD]))
    places, at = [], data.find(mark)
    while at >= 0:
        places.append(at)
        at = data.find(mark, at + 4)
    if not places:
        return flip_bits(data, chance)
    at = chance.choice(places)
    if chance.random() < 0.2:
        return data[:at] + _pack(chance.choice([0xFFFEE000, 0xFFFEE00D, _PIXELS])) + data[at + 4 :]
    near = (struct.unpack("<I", data[at + 4 : at + 8].ljust(4, b"\0"))[0] + 2) % (1 << 32)
    value = chance.choice([*_EDGES[4], near, len(data)])
    return data[: at + 4] + struct.pack("<I", value) + data[at + 8 :]


def damage_pixels(data: bytes, chance: random.Random) -> bytes:
    """Behind PixelData: offsets that lie, codestream bytes changed, removed or repeated."""
    start = max(data.rfind(_pack(_PIXELS)), 0) + 12
    if start >= len(data):
        return flip_bits(data, chance)
    if chance.random() < 0.2:  # the offset table, or what stands in its place
        at = start + 8 + 4 * chance.randrange(3)
        return data[:at] + struct.pack("<I", chance.choice(_EDGES[4])) + data[at + 4 :]
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 3, 10])):
        at = chance.randrange(start, len(data))
        at = min(at, start + chance.choice([20, 60, 10**7]))
        kind = chance.randrange(4)
        if kind == 0:
            del changed[at : at + chance.randrange(1, 20)]
        elif kind == 1:
            changed[at:at] = chance.randbytes(chance.randrange(1, 9))
        elif kind == 2:
            changed[at : at + 2] = chance.choice(_EDGES[2]).to_bytes(2, "big")
        else:
            changed[at : at + 1] = bytes([chance.choice(_EDGES[1])])
    return bytes(changed)


def claim_a_huge_image(data: bytes, chance: random.Random) -> bytes:
    """Header and codestream agree on a size that the few bytes cannot hold."""
    rows, cols = (chance.choice([1, 64, 2048, 4096, 5000, 8000, 65535]) for _ in range(2))
    for tag, value in ((0x00280010, rows), (0x00280011, cols)):
        found = _find(data, tag, chance)
        if found:
            at = found[3]
            data = data[:at] + struct.pack(found[4] + "H", value) + data[at + 2 :]
    changed = bytearray(data)
    start = max(data.rfind(_pack(_PIXELS)), 0)
    for marker in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc3", b"\xff\xf7"):
        at = data.find(marker, start)
        if at >= 0:
            changed[at + 5 : at + 9] = struct.pack(">HH", rows, cols)
            break
    at = data.find(b"\xff\x4f\xff\x51", start)
    if at >= 0:
        size = struct.pack(">II", cols, rows)
        changed[at + 8 : at + 16] = size
        if chance.random() < 0.7:
            changed[at + 24 : at + 32] = size
    return bytes(changed[: len(data)])


def change_syntax(data: bytes, chance: random.Random) -> bytes:
    found = _find(data, 0x00020010, chance)
    if found is None:
        return flip_bits(data, chance)
    _, at, width, value, _ = found
    length = int.from_bytes(data[at : at + width], "little")
    known = [*map(str, NATIVE), *(codec[0] for codec in CODECS.values())]
    text = chance.choice([*known, "", TEXT, "1.2.840.10008.1.2.4.100"]).encode()
    text += b"\0" * (len(text) % 2)
    return data[:at] + len(text).to_bytes(width, "little") + text + data[value + length :]


DAMAGES: tuple[Damage, ...] = (
    *(flip_bits, edge_values, lie_about_length, replace_vr, swap_tags, move_chunks, splice),
    *(odd_numbers, odd_numbers, odd_words, nest_deeply, lie_about_items, damage_pixels),
    *(damage_pixels, claim_a_huge_image, change_syntax),
)
