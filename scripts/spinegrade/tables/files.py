"""Tables as files: one declared kind each, checked on write and on read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pandera.pandas as pa
import pyarrow.parquet as pq
from pandera.errors import SchemaError, SchemaErrors
from pyarrow.lib import ArrowException

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.files import atomic_path


@dataclass(frozen=True)
class Kind:
    """A kind of table: its name in messages, its columns in their order, what a row is known by.

    ``key``: columns whose values no two rows share; none where rows may repeat.
    """

    name: str
    columns: Mapping[str, pa.Column]
    key: tuple[str, ...] = ()


def check_table(table: pd.DataFrame, kind: Kind, where: str | Path = "") -> pd.DataFrame:
    """Return ``table`` with its columns in the order and types of ``kind``.

    What does not fit is refused.

    Raises SpinegradeError that names the file, the column, the first offending row and value.
    Columns outside the schema are refused: a misspelt one would be lost silently. Those that the
    schema does not require are null where they are absent.
    """
    columns = kind.columns
    absent = {c: None for c, rule in columns.items() if not rule.required and c not in table}
    if absent:
        table = table.assign(**absent)
    place = f"{where} ({kind.name} table)" if where else f"{kind.name} table"
    missing = [c for c in columns if c not in table.columns]
    surplus = [c for c in table.columns if c not in columns]
    if missing or surplus:
        raise SpinegradeError(
            f"{place}: missing columns {missing}, unknown columns {surplus}; "
            f"expected exactly {list(columns)}",
            code="TABLE_COLUMNS",
        )
    table = table[list(columns)].reset_index(drop=True)
    for column, rule in columns.items():
        if str(rule.dtype).startswith("str"):
            table[column] = table[column].astype("str")
    try:
        table = pa.DataFrameSchema(columns).validate(table)
    except (SchemaError, SchemaErrors) as error:
        raise SpinegradeError(f"{place}: {error}", code="TABLE_VALUES") from error
    if kind.key:
        repeated = table[table.duplicated(list(kind.key))]
        if len(repeated):
            row = repeated.iloc[0]
            raise SpinegradeError(
                f"{place}: row {repeated.index[0]} repeats "
                + ", ".join(f"{c}={row[c]}" for c in kind.key)
                + "; each combination may appear once",
                code="TABLE_ROW_TWICE",
            )
    return table


def write_table(path: str | Path, table: pd.DataFrame, kind: Kind) -> None:
    """Check ``table`` as one of ``kind`` and write it atomically as Parquet."""
    table = check_table(table, kind, path)
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_table(path: str | Path, kind: Kind) -> pd.DataFrame:
    """Read one Parquet table and check it as one of ``kind``."""
    if not Path(path).exists():
        raise SpinegradeError(
            f"{path}: no such {kind.name} table; run the rule that makes it", code="TABLE_MISSING"
        )
    return check_table(_read(path), kind, path)


def _read(path: str | Path) -> pd.DataFrame:
    try:
        return pq.read_table(path).to_pandas()
    except (ArrowException, OSError) as error:
        raise SpinegradeError(
            f"{path}: no Parquet table that can be read ({error}); remove it and run again",
            code="TABLE_UNREADABLE",
        ) from error


def read_tables(paths: list[str] | list[Path], kind: Kind) -> pd.DataFrame:
    """Read the shards of one table and join them, checked once, in the order given."""
    parts = [_read(path) for path in paths]
    joined = pd.concat([p for p in parts if len(p)] or parts[:1], ignore_index=True)
    return check_table(joined, kind, f"{len(parts)} shards of {Path(str(paths[0])).parent}")


def empty_table(kind: Kind) -> pd.DataFrame:
    """A table of ``kind`` without rows."""
    return check_table(pd.DataFrame(columns=list(kind.columns)), kind)
