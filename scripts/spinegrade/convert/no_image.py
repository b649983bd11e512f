"""Why a file holds no image: a pointer in its place, or no DICOM image at all."""

from __future__ import annotations

from spinegrade.convert.elements import Elements
from spinegrade.convert.refusals import Refused

# How the files begin that stand in for one that was not fetched (the second: the old name of
# Git LFS; the third: a file that git-annex has unlocked).
_POINTERS = {
    b"version https://git-lfs.github.com/spec/": "Git LFS",
    b"version https://hawser.github.com/spec/": "Git LFS",
    b"/annex/objects/": "git-annex",
}


def no_image(elements: Elements) -> Refused:
    """The refusal of a file that has neither rows nor pixel data."""
    data = elements.data
    for start, tool in _POINTERS.items():
        if data.startswith(start):
            return Refused("NOT_FETCHED", f"a pointer of {tool} lies in the file's place")
    if elements.cut and data[128:132] == b"DICM":
        return Refused("TRUNCATED", "the file ends inside its header")
    return Refused("NOT_AN_IMAGE", "neither rows nor pixel data: no DICOM image")
