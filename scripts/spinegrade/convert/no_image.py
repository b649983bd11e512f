"""Why a file holds no image: a pointer in its place, a broken copy, or no image by nature."""

from __future__ import annotations

from spinegrade.convert.elements import Elements
from spinegrade.convert.objects import (
    check_picture,
    class_name,
    is_picture_class,
)
from spinegrade.convert.refusals import Refused

# How the files begin that stand in for one that was not fetched (the second: the old name of
# Git LFS; the third: a file that git-annex has unlocked).
_POINTERS = {
    b"version https://git-lfs.github.com/spec/": "Git LFS",
    b"version https://hawser.github.com/spec/": "Git LFS",
    b"/annex/objects/": "git-annex",
}


# So begins a DICOM file that has no preamble: with the group of its first element.
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")
_PREAMBLE, _MARK = 128, b"DICM"


def no_image(elements: Elements, meta: Elements) -> Refused:
    """The refusal of a file that has neither rows nor pixel data.

    ``elements`` and ``meta``: its dataset and its file meta information, as ``parse`` has them.
    """
    data = meta.data
    for start, tool in _POINTERS.items():
        if data.startswith(start):
            return Refused("NOT_FETCHED", f"a pointer of {tool} lies in the file's place")
    broken = _broken_copy(elements, meta)
    if broken:
        return Refused("TRUNCATED", broken)
    try:
        uid = check_picture(elements, meta)
    except Refused as refused:
        return refused
    if is_picture_class(uid):
        return Refused("TRUNCATED", f"{class_name(uid)} without rows and pixels")
    return Refused("NOT_AN_IMAGE", "neither rows nor pixel data: no DICOM image")


def _broken_copy(elements: Elements, meta: Elements) -> str:
    """What shows that a copy or a download broke off; "" for a whole file."""
    data = meta.data
    if not data:
        return "the file is empty"
    marked = data[_PREAMBLE : _PREAMBLE + len(_MARK)] == _MARK
    if not marked and not data[:_PREAMBLE].strip(b"\0"):
        return "the file begins with zeros and does not say that it is DICOM"
    if not marked and data[:2] not in _FIRST_GROUPS:
        return ""
    if meta.cut or elements.cut or not elements.values:
        return "the file ends inside its header"
    # No element has the tag (0000,0000) but zeros.
    return "the file breaks off into zeros inside its header" if 0 in elements.values else ""
