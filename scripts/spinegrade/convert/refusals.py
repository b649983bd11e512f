"""The codes by which a file, a slice, a stack or a series is refused or noted.

docs/refusals.md explains them to users; a test holds it against ``REFUSALS``.
"""

from __future__ import annotations

from typing import Any

REFUSALS: dict[str, str] = {
    "NO_FILES": "copy the series again, or leave its row out of the series descriptions",
    "UNSAFE_PATH": "rename the folder or file to plain letters, digits, dots, dashes",
    "UNREADABLE": "make the file readable, or copy it again",
    "NOT_FETCHED": "fetch the file; what lies here only points to it",
    "OTHER_FOLDER": "put the files of the series themselves into its folder, all in one place",
    "OTHER_STUDY": "move it to its own study's folder; its header names another study",
    "NOT_AN_IMAGE": "nothing, or remove the file; it is no picture of the patient",
    "BAD_HEADER": "export the file again; its header contradicts itself or cannot be read",
    "NO_PIXELS": "export the file again with its pixel data",
    "TRUNCATED": "copy the file again; it ends before its pixels do",
    "UNSUPPORTED_SYNTAX": (
        "convert the file to Explicit VR Little Endian, in whole numbers of 8, 16 or 32 bits"
    ),
    "DECODE_FAILED": "copy the file again, or export it again; its compressed pixels are damaged",
    "COLOUR": "nothing; colour images (screenshots, fused images) are not converted",
    "MOSAIC": "export the series as single slices; this image shows many and does not say how",
    "TOO_LARGE": "check the file, or raise convert.max_frame_mb or convert.max_series_mb",
    "NO_GEOMETRY": "export the series with position, orientation and pixel spacing",
    "MIXED_ORIENTATION": "check the series' description; these slices lie in another plane",
    "GAP": "fetch the slices that are missing between the two files",
    "UNEVEN_STEPS": "check the positions in the headers; blocks planned apart need nothing",
    "TURNED_SLICES": "raise convert.orientation_tolerance_degrees if they are one scan",
    "OTHER_SERIES": "leave one series in the folder; the description can fit only one",
    "OTHER_SOURCE": "deliver these slices as a series of their own if they are wanted",
    "DUPLICATE_SLICE": "remove the repeated slice if another than the one kept is wanted",
    "NOT_A_VOLUME": (
        "export them with their own positions; nothing, if they show one slice again and again"
    ),
    "AMBIGUOUS_VOLUMES": "deliver one volume a series; no tag tells these apart",
    "GANTRY_TILT": "resample the series to slices above one another",
    "NO_QFORM": "open it with a program that reads the sform; those built on ITK refuse it",
    "TOO_FEW_SLICES": "lower convert.min_slices if such short series are wanted",
    "UNEXPECTED_ERROR": "report it with the trace in the log; the series is no use until then",
    "UNEVEN_A_LITTLE": "nothing; positions in full precision would place slices exactly",
    "TURNED_A_LITTLE": "nothing",
    "SHEARED": "nothing; the tables and the sform are exact",
    "SEVERAL_SOURCES": "nothing, or keep the one that is wanted",
}


class Refused(Exception):
    """A file or a group of slices is not converted: a code of ``REFUSALS`` and what was found."""

    def __init__(self, code: str, found: str) -> None:
        super().__init__(f"{code}: {found}")
        self.code = code
        self.found = found


def plain_name(name: str) -> str:
    """A name as it may be stored and shown: unprintable and non-ASCII characters escaped."""
    return name if name.isprintable() and name.isascii() else ascii(name)


def refusal_row(
    study: str,
    series: str | None,
    file: str | None,
    code: str,
    found: str,
    action: str | None = None,
) -> dict[str, Any]:
    """A row of the ``rejected`` table; ``action`` says what was done, then what to do."""
    advice = REFUSALS[code]
    return {
        "study": plain_name(study),
        "series": None if series is None else plain_name(series),
        "file": None if file is None else plain_name(file),
        "code": code,
        "found": found,
        "action": f"{action}; {advice}" if action else advice,
    }
