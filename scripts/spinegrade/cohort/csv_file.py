"""One delivered CSV file as rows of text: no value ever passes through a number."""

from __future__ import annotations

import csv
import difflib
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spinegrade.cohort.layout import csv_path, is_id
from spinegrade.cohort.problems import Problems
from spinegrade.separators import other_separator


@dataclass(frozen=True)
class CsvFile:
    """Rows of a CSV file. ``lines`` are the line numbers in the file, counted from 1."""

    name: str
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]

    def records(self, columns: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
        """Yield (line, values of ``columns``) for each row; the columns must be there."""
        places = [self.columns.index(column) for column in columns]
        for line, row in zip(self.lines, self.rows, strict=True):
            yield line, [row[place] for place in places]


def read_csv_file(
    root: str | Path,
    name: str,
    required: Iterable[str],
    problems: Problems,
    rename: Callable[[str], str] = str,
) -> CsvFile | None:
    """Read ``name`` (or ``name``.gz) under ``root``; note faults and return None if unusable.

    Values and column names are stripped of white space; ``rename`` maps a column's name to
    the one used here. Blank lines are skipped. Noted: a missing file, one that is not UTF-8
    CSV, fields separated by anything but commas, missing or repeated columns, rows with more or
    fewer fields than the header.
    """
    path = csv_path(root, name)
    if path is None:
        problems.add(f"{name}: missing file", f"no {name} (or {name}.gz) in {root}")
        return None
    read_text = gzip.open if path.suffix == ".gz" else open
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        with read_text(path, "rt", encoding="utf-8-sig", newline="") as stream:
            separator = other_separator(stream, required, rename)
            if separator:
                told = f"{separator} separate its fields; save it as CSV with commas between them"
                problems.add(f"{path.name}: not separated by commas", told)
                return None
            reader = csv.reader(stream, strict=True)
            for row in reader:
                if any(field.strip() for field in row):
                    rows.append([field.strip() for field in row])
                    lines.append(reader.line_num)
    except (csv.Error, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        place = f"after line {lines[-1]}" if lines else "at its start"
        problems.add(f"{path.name}: unreadable", f"{place}: {error}; expected UTF-8 CSV text")
        return None
    if not rows:
        problems.add(f"{path.name}: empty file", f"{path} has no header row")
        return None
    columns = [rename(column) for column in rows[0]]
    repeated = sorted({c for c in columns if c and columns.count(c) > 1})
    for column in repeated:
        problems.add(f"{path.name}: repeated column", f"{column!r} stands in the header twice")
    missing = [column for column in required if column not in columns]
    for column in missing:
        close = difflib.get_close_matches(column, [c for c in columns if c not in required], 1)
        hint = f"; is {close[0]!r} meant?" if close else ""
        problems.add(f"{path.name}: missing column", f"no column {column!r}{hint}")
    if repeated or missing:
        return None
    good_rows: list[list[str]] = []
    good_lines: list[int] = []
    for line, row in zip(lines[1:], rows[1:], strict=True):
        if len(row) != len(columns):
            problems.add(
                f"{path.name}: wrong number of fields",
                f"line {line} has {len(row)}, the header {len(columns)}",
            )
        else:
            good_rows.append(row)
            good_lines.append(line)
    return CsvFile(path.name, columns, good_rows, good_lines)


def check_id(file: str, line: int, column: str, value: str, problems: Problems) -> bool:
    """Whether ``value`` is an id; a fault is noted where it is not."""
    if is_id(value):
        return True
    hint = "digits only (1 to 64), as text, never a float; it names a folder"
    problems.add(f"{file}: id is not a number", f"line {line}, {column} {value!r}; allowed: {hint}")
    return False


def check_new(
    file: str, line: int, key: tuple[str, ...], what: str, seen: dict, problems: Problems
) -> bool:
    """Whether ``key`` is new among ``seen`` (key -> line); a fault is noted where it is not."""
    if key in seen:
        problems.add(
            f"{file}: duplicated row",
            f"line {line} repeats {what} {', '.join(key)} of line {seen[key]}; "
            "allowed: one row each",
        )
        return False
    seen[key] = line
    return True
