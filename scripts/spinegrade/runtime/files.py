"""Outputs are written to a temporary name beside their place and renamed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spinegrade.errors import SpinegradeError

_PART = ".part-"
# By the system's number of an error: what is wrong, and what to do with the folder.
_REFUSALS = {
    errno.ENOSPC: ("no space is left on its disk", "make room there"),
    errno.EDQUOT: ("your disk quota is used up", "make room there"),
    errno.EFBIG: ("it is larger than files may be there", "raise that limit (ulimit -f)"),
    errno.EROFS: ("its disk is read-only", "make {} writable"),
    errno.EACCES: ("you have no right to", "make {} writable"),
    errno.EPERM: ("you have no right to", "make {} writable"),
}
_ROOM = {errno.ENOSPC, errno.EDQUOT}
_RIGHTS = {errno.EACCES, errno.EPERM}


class CannotWriteError(SpinegradeError, OSError):
    """The disk is full, read-only, or not the user's to write to; says which and what to do."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; rename it there on success.

    The temporary name keeps the suffix, since many writers choose a format by it. On an
    exception it is removed and ``path`` stays as it was. Raises CannotWriteError where the disk
    is full or may not be written to.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_PART, suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except SpinegradeError:
        raise
    except Exception as error:
        refusal = write_refusal(error, path)
        if refusal is None:
            raise
        raise refusal from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_refusal(error: BaseException, path: str | Path) -> CannotWriteError | None:
    """What to tell of an ``error`` of writing to ``path``, if the disk is what is wrong; else None.

    Writers wrap the system's error in errors of their own, so its number is looked for along the
    chain of causes, and its words in their texts.
    """
    path, what, chain = Path(path), None, [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    for one in chain:
        words = str(one).lower()
        for number in _REFUSALS:
            if getattr(one, "errno", None) == number or os.strerror(number).lower() in words:
                what = what or number
                named = getattr(one, "filename", None)
                if isinstance(named, str) and not Path(named).name.startswith(_PART):
                    path = Path(named)
    folder = next(place for place in (path.parent, *path.absolute().parents) if place.is_dir())
    usage = shutil.disk_usage(folder)
    if what is None and isinstance(error, OSError) and error.errno is None and usage.free < 2**16:
        what = errno.ENOSPC  # NumPy only says how much it could not write
    unreadable = path.is_file() and not os.access(path, os.R_OK)
    if what is None or (what in _RIGHTS and unreadable):
        return None
    text, remedy = _REFUSALS[what]
    room = f" ({usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB free)"
    return CannotWriteError(
        f"{path} cannot be written: {text}{room if what in _ROOM else ''}; {remedy.format(folder)} "
        "and run the same command again: what is finished stays"
    )


def remove_left_parts(folder: str | Path) -> int:
    """Remove temporary files that killed jobs left below ``folder``; returns how many.

    Only for who knows that no job is writing there.
    """
    left = list(Path(folder).rglob(f"{_PART}*"))
    for part in left:
        part.unlink(missing_ok=True)
    return len(left)


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
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SpinegradeError(
            f"{path}: not valid JSON ({error}); remove it and rerun", code="FILE_NO_JSON"
        ) from error


def inside(folder: str | Path, *parts: str) -> Path:
    """``folder/parts`` for names that come from data; refuses one that leaves ``folder``.

    Raises SpinegradeError for absolute names, ``..``, separators and control characters.
    """
    for part in parts:
        if part in ("", ".", "..") or any(c in part for c in "/\\") or not part.isprintable():
            raise SpinegradeError(
                f"unsafe name {part!r} under {folder}: a study, series or file name must be "
                "one plain path component; rename it",
                code="NAME_UNSAFE",
            )
    return Path(folder).joinpath(*parts)
