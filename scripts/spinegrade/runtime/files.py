"""Outputs are written to a temporary name beside their place and renamed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spinegrade.errors import SpinegradeError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; rename it there on success.

    The temporary name keeps the suffix, since many writers choose a format by it. On an
    exception it is removed and ``path`` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically, sorted and indented; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a broken one is refused by name."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise SpinegradeError(f"{path}: not valid JSON ({error}); remove it and rerun") from error


def inside(folder: str | Path, *parts: str) -> Path:
    """``folder/parts`` for names that come from data; refuses one that leaves ``folder``.

    Raises SpinegradeError for absolute names, ``..``, separators and control characters.
    """
    for part in parts:
        if part in ("", ".", "..") or any(c in part for c in "/\\") or not part.isprintable():
            raise SpinegradeError(
                f"unsafe name {part!r} under {folder}: a study, series or file name must be "
                "one plain path component; rename it"
            )
    return Path(folder).joinpath(*parts)
