"""What a delivered cohort holds, study by study, told by digests when the job graph is built.

A study that joins, or one whose files or rows change, must rerun its own shard and the
trainings that learn from it, and nothing else. Rules therefore take the cohort's tables as
``ancient`` inputs and carry in their params a digest over exactly the studies that they read.
No image is opened: names, sizes and times of files count, and the text of table rows.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from spinegrade.cohort.fold_rule import fold_of
from spinegrade.cohort.folders import study_digests
from spinegrade.cohort.layout import (
    LABELS,
    LANDMARKS,
    TEST_IMAGES,
    TEST_SERIES,
    TRAIN_IMAGES,
    TRAIN_SERIES,
    csv_path,
)
from spinegrade.shards import shard_of

_STUDY_COLUMNS = ("study_id", "study", "studyinstanceuid")
_UNKNOWN = "*"


class Delivered:
    """Digests of a cohort under ``root`` in the competition's layout.

    ``folds_file`` replaces the rule for folds. A folder or table that is not there counts as
    empty; the stage that needs it says so.
    """

    def __init__(
        self, root: str, shards: int, folds: int, salt: int, folds_file: str | None = None
    ) -> None:
        self._root = root
        self._shards = shards
        self._folds = folds
        self._salt = salt
        self._folds_file = folds_file
        # Snakemake asks for the same digests several times a job.
        self._digests: dict[tuple[object, ...], str] = {}
        # By digest: which studies it is over, and what of them.
        self._behind: dict[str, tuple[Callable[[str], bool], Sequence[str]]] = {}
        self._shard_of: dict[str, int] = {}

    @cached_property
    def _walked(self) -> tuple[dict[str, str], dict[str, str]]:
        """Digests of names, and of files, by study: one walk over the folders."""
        names: dict[str, str] = {}
        files: dict[str, str] = {}
        for part in (TRAIN_IMAGES, TEST_IMAGES):
            for study, (of_names, of_files) in study_digests(f"{self._root}/{part}").items():
                names[study] = f"{names.get(study, '')}{part} {of_names}"
                files[study] = files.get(study, "") + of_files
        return names, files

    @cached_property
    def names(self) -> dict[str, str]:
        """By study: the names of its folders and files; what ``index_cohort`` counts."""
        return self._walked[0]

    @cached_property
    def files(self) -> dict[str, str]:
        """By study: names, sizes and times of its image files."""
        return self._walked[1]

    @cached_property
    def series(self) -> dict[str, str]:
        """By study: its rows in both tables of series descriptions."""
        return _rows_digest([self._table(TRAIN_SERIES), self._table(TEST_SERIES)])

    @cached_property
    def landmarks(self) -> dict[str, str]:
        """By study: its annotated points."""
        return _rows_digest([self._table(LANDMARKS)])

    @cached_property
    def labels(self) -> dict[str, str]:
        """By train study: its grades."""
        return _rows_digest([self._table(LABELS)])

    @cached_property
    def folds(self) -> dict[str, str]:
        """By train study: its fold, as text."""
        if self._folds_file:
            return _folds_of_file(Path(self._folds_file))
        return {study: str(fold_of(study, self._folds, self._salt)) for study in self.labels}

    def shard_digest(self, shard: int, *kinds: str) -> str:
        """Sixteen hex digits over those ``kinds`` of all studies of a shard."""
        return self._digest(("shard", shard), lambda study: self._shard(study) == shard, kinds)

    def training_digest(self, fold: int | None, *kinds: str) -> str:
        """The same over the train studies outside ``fold``; with None over all of them."""
        return self._digest(
            ("training", fold),
            lambda study: (
                study in self.labels and (fold is None or self.folds.get(study) != str(fold))
            ),
            kinds,
        )

    def digest(self, *kinds: str) -> str:
        """The same over all studies."""
        return self._digest(("all",), lambda study: True, kinds)

    def _shard(self, study: str) -> int:
        if study not in self._shard_of:
            self._shard_of[study] = shard_of(study, self._shards)
        return self._shard_of[study]

    def _digest(
        self, part: tuple[object, ...], wanted: Callable[[str], bool], kinds: Sequence[str]
    ) -> str:
        """Over the studies of ``part``, those that are ``wanted``; made once."""
        asked = (*part, *kinds)
        if asked not in self._digests:
            digest = self._digest_of(wanted, kinds)
            self._digests[asked], self._behind[digest] = digest, (wanted, kinds)
        return self._digests[asked]

    def _digest_of(self, wanted: Callable[[str], bool], kinds: Sequence[str]) -> str:
        digest = hashlib.sha256()
        tables = [(kind, getattr(self, kind)) for kind in kinds]
        for study in sorted({study for _, table in tables for study in table}):
            if study == _UNKNOWN or wanted(study):
                for kind, table in tables:
                    digest.update(f"{study} {kind} {table.get(study)}\n".encode(errors="replace"))
        return digest.hexdigest()[:16]

    def _table(self, name: str) -> Path | None:
        return csv_path(self._root, name)

    def changed_since(self, digest: str, before: dict[str, dict[str, str]]) -> dict[str, list[str]]:
        """By kind, the studies behind a ``digest`` of this process that differ from ``before``.

        ``before`` is what ``known`` gave then. Studies that joined or left are under ``new`` and
        ``gone`` alone. Empty where the digest or a kind that it is over is not known.
        """
        wanted, kinds = self._behind.get(digest, (None, ()))
        if wanted is None or not before.keys() >= {*kinds}:
            return {}
        now = {kind: getattr(self, kind) for kind in kinds}
        then = {study for kind in kinds for study in before[kind]}
        here = {study for kind in kinds for study in now[kind]}
        found: dict[str, list[str]] = defaultdict(list)
        for study in sorted(then | here):
            if study not in here:
                found["gone"].append(study)
            elif study == _UNKNOWN or not wanted(study):
                continue
            elif study not in then:
                found["new"].append(study)
            else:
                for kind in kinds:
                    if before[kind].get(study) != now[kind].get(study):
                        found[kind].append(study)
        return dict(found)

    @property
    def known(self) -> dict[str, dict[str, str]]:
        """What has been read so far, by kind and study."""
        names = ("names", "files", "series", "landmarks", "labels", "folds")
        return {name: self.__dict__[name] for name in names if name in self.__dict__}

    def save(self, path: Path) -> None:
        """Keep what has been read, so that jobs of the same run need not walk the cohort."""
        path.write_text(json.dumps(self.known))

    def load(self, path: Path) -> None:
        """Take over what ``save`` kept, where it did."""
        if path.is_file():
            self.__dict__.update(json.loads(path.read_text()))
            self._digests.clear()


def text_digest(*values: object) -> str:
    """Sixteen hex digits over configuration values (anything that JSON holds)."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _rows(path: Path) -> Iterable[list[str]]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            yield from csv.reader(file)
        except (csv.Error, OSError, EOFError):
            return  # index_cohort names what is wrong with a table


def _by_study(path: Path) -> dict[str, list[str]]:
    """The rows of a table as text by study; under ``*`` where no column holds the study."""
    rows = iter(_rows(path))
    header = [name.strip().lower() for name in next(rows, [])]
    column = next((header.index(name) for name in _STUDY_COLUMNS if name in header), None)
    found: dict[str, list[str]] = defaultdict(list)
    found[_UNKNOWN].append(",".join(header))
    for row in rows:
        known = column is not None and len(row) > column
        found[row[column].strip() if known else _UNKNOWN].append(",".join(row))
    return found


def _rows_digest(paths: list[Path | None]) -> dict[str, str]:
    joined: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        if path is not None:
            for study, rows in _by_study(path).items():
                joined[study] += rows
    return {
        study: hashlib.sha256("\n".join(rows).encode(errors="replace")).hexdigest()[:16]
        for study, rows in joined.items()
    }


def _folds_of_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    rows = [[value.strip() for value in row] for row in _rows(path) if row]
    header = [name.lower() for name in rows[0]] if rows else []
    columns = [
        next((n for n in names if n in header), None) for names in (_STUDY_COLUMNS, ["fold"])
    ]
    if None in columns:
        return {}
    study, fold = (header.index(str(name)) for name in columns)
    return {row[study]: row[fold] for row in rows[1:] if len(row) > max(study, fold)}
