"""Tables of probabilities that others made, in the competition's form, as members.

One row a cell: ``row_id`` (<study>_<cell>, the cell as a column of train.csv), the region's grades
by name (``normal_mild``, ``moderate``, ``severe``), and perhaps ``fold``. A table may hold some
conditions and some studies only. Of train studies its maker must have predicted each out of fold:
what a file does not say cannot be checked.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from pyarrow.lib import ArrowException

from spinegrade.errors import SpinegradeError
from spinegrade.metrics.cells import SUM_TOLERANCE
from spinegrade.regions.region import Cell, Region, row_id
from spinegrade.separators import other_separator

_FILE = "a CSV or Parquet file of probabilities"
_ROUNDING = 1e-9  # what floating point adds to a sum that is off by exactly the tolerance


@dataclass(frozen=True)
class OutsideTable:
    """Where a table lies, and whether rows of any sum are divided by it (``normalise``)."""

    path: str | Path
    normalise: bool = False


@dataclass(frozen=True)
class _Rows:
    """A file's columns by name, and the words that lead to each row in it."""

    path: Path
    region: Region
    columns: dict[str, list]
    unit: str
    numbers: list[int]

    def refuse(self, wrong: np.ndarray, code: str, problem: str) -> None:
        """Raise SpinegradeError that names the first row where ``wrong`` (n,) holds."""
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            more = int(wrong.sum()) - 1
            tail = f" ({more} more rows like it)" if more else ""
            raise SpinegradeError(
                f"{self.path}: {self.unit} {self.numbers[row]}, row_id "
                f"{self.columns['row_id'][row]!r}: {problem}{tail}",
                code=code,
            )


def content_digest(path: str | Path) -> str:
    """Sixteen hex digits over a file's bytes; raises SpinegradeError where it cannot be read."""
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    except OSError as error:
        raise SpinegradeError(
            f"{path}: cannot be read ({error.strerror}); combine.outside must name {_FILE}",
            code="OUTSIDE_UNREADABLE",
        ) from error


def check_files(tables: dict[str, dict]) -> None:
    """Refuse a configuration (``combine.outside``) that names a file that is not there."""
    for name, table in tables.items():
        if not Path(table["path"]).is_file():
            raise SpinegradeError(
                f"combine.outside.{name}.path is {str(table['path'])!r}: there is no such file; "
                f"it must name {_FILE}",
                code="OUTSIDE_NO_FILE",
                key=f"combine.outside.{name}.path",
            )


def _columns(region: Region) -> tuple[str, ...]:
    return ("row_id", *region.grade_names)


def _form(region: Region) -> str:
    return f"a CSV or Parquet file with the columns {', '.join(_columns(region))} (and fold)"


def _check_columns(path: Path, found: Iterable[str], region: Region) -> None:
    found, columns = list(found), _columns(region)
    missing = [column for column in columns if column not in found]
    surplus = [column for column in found if column not in (*columns, "fold")]
    repeated = sorted({column for column in found if found.count(column) > 1})
    if missing or surplus or repeated:
        raise SpinegradeError(
            f"{path}: missing columns {missing}, unknown columns {surplus}, repeated columns "
            f"{repeated}; expected {_form(region)}",
            code="OUTSIDE_COLUMNS",
        )


def _read_csv(path: Path, region: Region) -> _Rows:
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            separator = other_separator(stream, _columns(region))
            if separator:
                raise SpinegradeError(
                    f"{path}: {separator} separate its fields; save it as CSV with commas between "
                    "them",
                    code="OUTSIDE_SEPARATOR",
                )
            reader = csv.reader(stream, strict=True)
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(reader.line_num)
    except (csv.Error, UnicodeDecodeError) as error:
        place = f"after line {lines[-1]}" if lines else "at its start"
        raise SpinegradeError(
            f"{path}: {place}: {error}; expected UTF-8 CSV text", code="OUTSIDE_NO_CSV"
        ) from error
    if not rows:
        raise SpinegradeError(f"{path}: empty; expected {_form(region)}", code="OUTSIDE_EMPTY")
    header = [column.strip() for column in rows[0]]
    _check_columns(path, header, region)
    for line, row in zip(lines[1:], rows[1:], strict=True):
        if len(row) != len(header):
            raise SpinegradeError(
                f"{path}: line {line} has {len(row)} fields, the header {len(header)}; mend it",
                code="OUTSIDE_FIELDS",
            )
    values = [[field.strip() for field in column] for column in zip(*rows[1:], strict=True)]
    columns = dict(zip(header, values, strict=True)) if values else {c: [] for c in header}
    return _Rows(path, region, columns, "line", lines[1:])


def _read_parquet(path: Path, region: Region) -> _Rows:
    try:
        table = pq.read_table(path)
    except (ArrowException, OSError) as error:
        raise SpinegradeError(
            f"{path}: no Parquet table that can be read ({error}); expected {_form(region)}",
            code="OUTSIDE_NO_PARQUET",
        ) from error
    # pandas stores a frame's unnamed index as a column of this name.
    names = [name for name in table.column_names if not name.startswith("__index_level_")]
    _check_columns(path, names, region)
    columns = {name: table.column(name).to_pylist() for name in names}
    return _Rows(path, region, columns, "row", list(range(table.num_rows)))


def _numbers(rows: _Rows, column: str, empty: float | None = None) -> np.ndarray:
    """A column as (n,) float64; a missing value is ``empty``, refused where that is None."""

    def number(value: object) -> float:
        if empty is not None and value in (None, ""):
            return empty
        try:
            return float("nan") if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return float("nan")

    values = rows.columns[column]
    try:
        if empty is not None or any(isinstance(value, bool) for value in values):
            raise TypeError
        found = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):  # value by value, to find the one that is no number
        found = np.array([number(value) for value in values])
    wrong = ~np.isfinite(found)
    if wrong.any():
        value = values[int(np.flatnonzero(wrong)[0])]
        said = "empty" if value in (None, "") else repr(value)
        rows.refuse(
            wrong,
            "OUTSIDE_NO_NUMBER",
            f"{column} is {said}, no finite number; give a decimal number",
        )
    return found


@lru_cache(maxsize=1)
def _known_rows(studies: tuple[str, ...], cells: tuple[Cell, ...]) -> pd.Index:
    return pd.Index([row_id(study, cell) for study in studies for cell in cells])


def _places(rows: _Rows, studies: list[str]) -> np.ndarray:
    """Each row's (n,) place among studies times cells; refuses strangers and repeats."""
    names = rows.columns["row_id"]
    cells = rows.region.cells
    known = _known_rows(tuple(studies), cells)
    place = known.get_indexer(pd.Index(names, dtype="object"))
    if (place < 0).any():
        name = names[int(np.flatnonzero(place < 0)[0])]
        cell = next(
            (c.column for c in cells if isinstance(name, str) and name.endswith(f"_{c.column}")), ""
        )
        if cell:
            study = name[: -len(cell) - 1]
            code = "OUTSIDE_STUDY_UNKNOWN"
            problem = f"study {study!r} is not in this cohort; leave its rows out"
        else:
            example = row_id(studies[0] if studies else "<study>", cells[0])
            code = "OUTSIDE_CELL_UNKNOWN"
            problem = f"there is no such cell; expected <study>_<cell>, such as {example}"
        rows.refuse(place < 0, code, problem)
    repeated = pd.Index(place).duplicated()
    if repeated.any():
        second = int(np.flatnonzero(repeated)[0])
        first = rows.numbers[int(np.flatnonzero(place == place[second])[0])]
        rows.refuse(
            repeated, "OUTSIDE_ROW_TWICE", f"repeats {rows.unit} {first}; each cell may appear once"
        )
    return place


def _probabilities(rows: _Rows, normalise: bool) -> np.ndarray:
    """(n, 3) float64, rows summing to one; refuses by row what cannot be probabilities."""
    grades = rows.region.grade_names
    values = np.stack([_numbers(rows, column) for column in grades], axis=1)
    for column, name in enumerate(grades):
        negative = values[:, column] < 0.0
        if negative.any():
            found = values[negative, column][0]
            rows.refuse(
                negative,
                "OUTSIDE_NEGATIVE",
                f"{name} is {found:g}; probabilities must not be negative",
            )
    sums = values.sum(axis=1)
    off = sums <= 0.0 if normalise else np.abs(sums - 1.0) > SUM_TOLERANCE + _ROUNDING
    if off.any():
        found = f"its three numbers sum to {sums[off][0]:.6f}"
        advice = (
            "nothing can be divided by it; mend the row"
            if normalise
            else f"they must sum to 1 within {SUM_TOLERANCE:g}; where odds or weights are meant, "
            "set normalise: true for this table"
        )
        rows.refuse(off, "OUTSIDE_SUM", f"{found}; {advice}")
    return values / sums[:, None]


def read_outside(
    name: str,
    table: OutsideTable,
    fold_of: pd.Series,
    region: Region,
    compare_folds: bool = True,
) -> pd.DataFrame:
    """An outside table as predictions of the grader ``name``.

    ``fold_of``: Int64 fold by study id for every study, null for those in no fold. A table
    without the column ``fold`` is taken as out of fold. With it each row's fold must be its
    study's own, and empty for a study in no fold; ``compare_folds`` false asks nothing of it
    (a finished run that is applied: its models saw none of these studies).

    Raises SpinegradeError, with the file and the row (the line of a CSV file, from 1; the row of
    a Parquet file, from 0), for missing, unknown or repeated columns, studies and cells that are
    not known, repeated cells, values that are not numbers, not finite or negative, sums off by
    more than 1e-3 unless the table is to be normalised, and folds as above.
    """
    check_files({name: {"path": table.path}})
    path = Path(table.path)
    rows = (_read_parquet if path.suffix == ".parquet" else _read_csv)(path, region)
    if not rows.numbers:
        raise SpinegradeError(
            f"{path}: holds no row; expected {_form(region)}", code="OUTSIDE_EMPTY"
        )
    studies = list(fold_of.index)
    place = _places(rows, studies)
    values = _probabilities(rows, table.normalise)
    study, cell = np.divmod(place, len(region.cells))
    fold = fold_of.array[study]
    if compare_folds and "fold" in rows.columns:
        given = _numbers(rows, "fold", empty=-1.0)
        own = np.asarray(fold.to_numpy(dtype="float64", na_value=-1.0))
        wrong = given != own
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            said, is_in = (f"{n:g}" if n >= 0 else "none" for n in (given[row], own[row]))
            rows.refuse(
                wrong,
                "OUTSIDE_OF_ANOTHER_FOLD",
                f"fold is {said}, but its study is in fold {is_in}; a model of another fold may "
                "have been trained on the study: predict it with these folds, or give the run "
                "the folds of the table (cohort.folds_file)",
            )
    made = pd.DataFrame({"study": np.asarray(studies, dtype=object)[study]})
    for number, column in enumerate(("condition", "level", "side")):
        made[column] = np.array([c[number] for c in region.cells], dtype=object)[cell]
    made[list(region.probability_columns)] = values
    return made.assign(classifier=name, fold=fold)
