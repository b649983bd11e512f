"""What separates the fields of a delivered table, told from its header."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TextIO

_OTHERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def other_separator(
    stream: TextIO, wanted: Iterable[str], rename: Callable[[str], str] = str.strip
) -> str | None:
    """What separates the columns of a table's header where it is no comma, in words; else None.

    ``stream``: the table, open at its start, and there again afterwards. ``wanted``: columns
    that it should have; ``rename`` maps a name in the file to the one used there. Spreadsheets
    write semicolons where the comma is the decimal sign.
    """
    header = ""
    while not header.strip():
        header = stream.readline()
        if not header:
            break
    stream.seek(0)
    wanted = {*wanted}

    def found(separator: str) -> int:
        return len(wanted & {rename(name.strip().strip('"')) for name in header.split(separator)})

    best = max(_OTHERS, key=found)
    return _OTHERS[best] if found(best) > found(",") else None
