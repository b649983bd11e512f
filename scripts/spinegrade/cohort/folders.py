"""The image folders of a cohort: which studies and series lie there, and how many files each.

No image is opened. One directory listing a study and one a series.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from spinegrade.runtime.progress import Progress
from spinegrade.series_files import SeriesFiles, is_passed_over, list_series

_LOGGER = logging.getLogger("spinegrade")
_NO_FILES = SeriesFiles([], [])


class FileCount(NamedTuple):
    """Files of a series, links to nothing among them, and how many of these there are."""

    files: int
    not_fetched: int


@dataclass
class StudyFolder:
    """What a study's folder holds: its series by name, and the names of what is no folder."""

    series: dict[str, FileCount] = field(default_factory=dict)
    loose: list[str] = field(default_factory=list)

    @property
    def has_files(self) -> bool:
        """Whether any series has a file, fetched or not."""
        return any(count.files for count in self.series.values())


def _tell(path: str | Path, error: OSError) -> None:
    _LOGGER.warning("%s: counted as empty, it cannot be listed (%s)", path, error.strerror)


def _entries(path: str | Path, tell: bool = True) -> list[os.DirEntry[str]]:
    """What lies in ``path``, sorted by name; nothing, with a warning, where it cannot be listed.

    Hidden entries and companions of file managers are passed over.
    """
    try:
        with os.scandir(path) as entries:
            found = [entry for entry in entries if not is_passed_over(entry.name)]
    except OSError as error:
        if tell:
            _tell(path, error)
        return []
    return sorted(found, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or leads to one; a link to itself does not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _list_series(path: str, tell: bool = True) -> SeriesFiles:
    try:
        return list_series(path)
    except OSError as error:
        if tell:
            _tell(path, error)
        return _NO_FILES


def scan_images(folder: str | Path) -> dict[str, StudyFolder]:
    """What each study's folder under ``folder`` holds, sorted by name.

    ``series_files`` says what a file of a series is. A folder that is not there, or that cannot
    be listed, holds no study or file. Files beside the study folders are counted in the log.
    """
    if not Path(folder).is_dir():
        return {}
    entries = _entries(folder)
    studies = [entry for entry in entries if _is_folder(entry)]
    if len(studies) < len(entries):
        _LOGGER.warning(
            "%s: %d entries are no study folders, and are passed over",
            folder,
            len(entries) - len(studies),
        )
    progress = Progress(f"Listing {folder}", len(studies))
    found: dict[str, StudyFolder] = {}
    for study in studies:
        there = found.setdefault(study.name, StudyFolder())
        for entry in _entries(study.path):
            if _is_folder(entry):
                listed = _list_series(entry.path)
                not_fetched = len(listed.not_fetched)
                count = FileCount(len(listed.files) + not_fetched, not_fetched)
                there.series[entry.name] = count
            else:
                there.loose.append(entry.name)
        progress.step()
    return found


def study_digests(folder: str | Path) -> dict[str, tuple[str, str]]:
    """By study under ``folder``: digests (hex) of its names, and of its files.

    The first changes when an entry comes, goes or is renamed, and not when a link to nothing
    comes alive or a file is overwritten; the second also with the size and the time of a file.
    What cannot be listed counts as empty, without a word: the stage that needs it says so.
    """
    entries = _entries(folder, tell=False)
    return {entry.name: _digests_of(entry.path) for entry in entries if _is_folder(entry)}


def _digests_of(study: str) -> tuple[str, str]:
    names: list[str] = []
    files: list[str] = []
    for entry in _entries(study, tell=False):
        names.append(entry.name)
        if _is_folder(entry):
            listed = _list_series(entry.path, tell=False)
            lost = [lost.name for lost in listed.lost]
            names += sorted([*listed.files, *lost])
            files += [entry.name, *lost]
            files += [f"{name} {_stamp(f'{entry.path}/{name}')}" for name in listed.files]
    return _hex(names), _hex(files)


def _hex(parts: list[str]) -> str:
    text = "\n".join(parts).encode(errors="surrogateescape")
    return hashlib.sha256(text).hexdigest()[:16]


def _stamp(path: str) -> str:
    try:
        # A Path for each of 150,000 files would add a third to the time of the walk.
        known = os.stat(path)  # noqa: PTH116
    except OSError:
        return ""
    return f"{known.st_size} {known.st_mtime_ns}"


def what_lies_at(path: Path) -> str:
    """Words on a series' or a study's folder in which no file of a series was found."""
    if not os.path.lexists(path):
        return "is not there"
    if not path.exists():
        return "is a link to nothing"
    if not path.is_dir():
        return "is a file, no folder"
    try:
        next(path.iterdir(), None)
    except OSError as error:
        return f"cannot be listed ({error.strerror})"
    return "holds no file"


def plain_text(name: str) -> str:
    """``name`` as it may be stored and shown: unprintable characters are escaped."""
    return name if name.isprintable() and name.isascii() else ascii(name)
