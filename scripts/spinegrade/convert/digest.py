"""What a shard's conversion depends on, read when the job graph is built."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from spinegrade.shards import shard_of


def shard_digests(
    image_folders: Iterable[str | Path], tables: Iterable[str | Path], shards: int
) -> list[str]:
    """Sixteen hex digits a shard: over its studies' files and their rows in ``tables``.

    One walk over ``image_folders`` (study/series/file: names, sizes, times; no file is
    opened). ``tables``: CSV files, plain or .gz, whose first column is the study. A folder
    or table that is not there counts as empty; the rule that needs it says so.
    """
    digests = [hashlib.sha256() for _ in range(shards)]
    for folder in image_folders:
        for study in _entries(folder):
            if not study.is_dir():
                continue
            digest = digests[shard_of(study.name, shards)]
            for series in _entries(study.path):
                digest.update(_text(study.name, series.name))
                if series.is_dir():
                    for file in _entries(series.path):
                        known = file.stat()
                        digest.update(_text(file.name, known.st_size, known.st_mtime_ns))
    for table in tables:
        for line in _lines(Path(table)):
            study = line.split(",", 1)[0].strip().strip('"')
            digests[shard_of(study, shards)].update(_text(line.strip()))
    return [digest.hexdigest()[:16] for digest in digests]


def text_digest(*values: object) -> str:
    """Sixteen hex digits over configuration values (anything that JSON holds)."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _text(*parts: object) -> bytes:
    return ("/".join(str(part) for part in parts) + "\n").encode(errors="surrogateescape")


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", errors="replace") as file:
        return file.readlines()
