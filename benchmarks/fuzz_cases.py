"""Series of DICOM files that are damaged on purpose, in every way that a file can lie."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

from fuzz_bytes import DAMAGES, Damage
from fuzz_seeds import seeds
from pydicom import uid


@dataclass(frozen=True)
class Case:
    """The files of one series by name, what they are described as, and what was done to them."""

    plane: str
    files: dict[bytes, bytes]
    story: str


_ODD_NAMES = (
    *(b"\xff\xfe.dcm", b"a\nb.dcm", "\u202ex.dcm".encode(), "\u00b2.dcm".encode(), b"9" * 250),
    *(b"-1.dcm", b"007.dcm", b"x" * 255, b" ", b"nan", b"%s%n", b"1e5.dcm", b"DICOMDIR"),
)


def _damaged(data: bytes, damages: list[Damage], chance: random.Random) -> bytes:
    """``data`` damaged; what is deflated is mostly damaged inside."""
    start = data.find(b"DICM") + 4
    deflated = uid.DeflatedExplicitVRLittleEndian.encode() in data[:400]
    if deflated and chance.random() < 0.8:
        head = start + 12 + int.from_bytes(data[start + 8 : start + 12], "little")
        inner = zlib.decompress(data[head:], -zlib.MAX_WBITS)
        for damage in damages:
            inner = damage(inner, chance) or b"\0"
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return data[:head] + packer.compress(inner) + packer.flush()
    for damage in damages:
        data = damage(data, chance) or b"\0"
    return data


def make_case(seed: int, number: int) -> Case:
    """Case ``number`` of the run ``seed``: always the same."""
    chance = random.Random(f"{seed}/{number}")
    name, plane, whole = chance.choice(seeds())
    files = dict(whole)
    damages = chance.choices(DAMAGES, k=chance.choice([1, 1, 1, 2, 3]))
    story = [name, *(damage.__name__ for damage in damages)]
    how = chance.random()
    if how < 0.5 or len(files) == 1:
        victims = [chance.choice(list(files))]
    elif how < 0.75:
        victims = chance.sample(list(files), chance.randrange(2, len(files) + 1))
    else:
        victims = list(files)
        story.append("all alike")
    own = chance.random()
    for victim in victims:
        # Damaged alike, all slices still belong together, and more of the rules see them.
        source = random.Random(own) if "all alike" in story else chance
        files[victim] = _damaged(files[victim], damages, source)
    extra = chance.random()
    if extra < 0.05:
        files[chance.choice(_ODD_NAMES)] = files.pop(chance.choice(list(files)))
        story.append("odd name")
    elif extra < 0.1:
        files[b"copy"] = chance.choice(list(files.values()))
        story.append("copy")
    elif extra < 0.15:
        _, _, other = chance.choice(seeds())
        files |= {b"other_" + key: value for key, value in other.items()}
        story.append("two series")
    plane = plane if chance.random() < 0.9 else chance.choice(["axial", "sagittal"])
    return Case(plane, files, ", ".join(story))
