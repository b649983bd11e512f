"""What counts as a file of a series: one answer for indexing, conversion and the digests.

Every file in the series' folder, and in the folders below it, whatever its name: scanners and
archives name images ``1.dcm``, ``IM000001`` or ``1.IMA``, straight in the folder or one deeper.
Passed over are hidden entries and what file managers and disc images leave behind. Whatever else
is no file is named with the reason, so that nothing is dropped without a word.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NamedTuple

# In lower case. A DICOMDIR is the table of contents of a disc, no image.
COMPANIONS = frozenset(
    {
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "autorun.inf",
        "dicomdir",
        "icon\r",
        "__macosx",
        "@eadir",
        "$recycle.bin",
        "system volume information",
        "lost+found",
    }
)
"""Files and folders that file managers, discs and archives add to what a user put there."""

NOT_FETCHED = "NOT_FETCHED"
_IMAGE_SUFFIXES = (".dcm", ".ima", ".dicom")
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR)


class Lost(NamedTuple):
    """An entry that is not read: its name from the series' folder, a refusal's code, and why."""

    name: str
    code: str
    found: str


class SeriesFiles(NamedTuple):
    """The files to read, as names from the series' folder with ``/`` between parts; the rest."""

    files: list[str]
    lost: list[Lost]

    @property
    def not_fetched(self) -> list[str]:
        """Names of the links that lead to nothing, sorted."""
        return [entry.name for entry in self.lost if entry.code == NOT_FETCHED]


def is_passed_over(name: str) -> bool:
    """Whether an entry of that name is hidden, or a companion of file managers and discs."""
    return name.startswith(".") or name.lower() in COMPANIONS


def list_series(folder: str | Path) -> SeriesFiles:
    """The files of a series' folder and of the folders below it, both lists sorted by name.

    Links to files are followed; links to folders below the series' own are not, since they may
    lead in circles. The type of an entry comes with its listing: only a link costs a look at its
    end. Raises OSError where ``folder`` itself cannot be listed.
    """
    found = SeriesFiles([], [])
    folders = _list(os.fspath(folder), "", found)
    while folders:
        name = folders.pop()
        entries = len(found.files) + len(found.lost)
        try:
            below = _list(f"{os.fspath(folder)}/{name}", f"{name}/", found)
        except OSError as error:
            text = f"the folder cannot be listed ({error.strerror})"
            found.lost.append(Lost(name, "UNREADABLE", text))
            continue
        empty = not below and entries == len(found.files) + len(found.lost)
        if empty and name.lower().endswith(_IMAGE_SUFFIXES):
            text = "a folder without a file lies in the file's place"
            found.lost.append(Lost(name, "OTHER_FOLDER", text))
        folders += below
    found.files.sort()
    found.lost.sort()
    return found


def _list(folder: str, prefix: str, found: SeriesFiles) -> list[str]:
    """Add the entries of one folder to ``found``; the names of the folders in it."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_passed_over(entry.name):
                continue
            name = prefix + entry.name
            if entry.is_file(follow_symlinks=False):
                found.files.append(name)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif entry.is_symlink():
                _add_link(entry, name, found)
            else:
                text = "a pipe, a socket or a device, no file"
                found.lost.append(Lost(name, "NOT_AN_IMAGE", text))
    return folders


def _add_link(entry: os.DirEntry[str], name: str, found: SeriesFiles) -> None:
    try:
        if entry.is_file():
            found.files.append(name)
            return
        is_folder = entry.is_dir()
        entry.stat()
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            found.lost.append(Lost(name, NOT_FETCHED, "a link to nothing"))
        else:
            # A right that is lacking, a circle of links: whoever opens it says so.
            found.files.append(name)
        return
    if is_folder:
        text = "a link to a folder, which is not followed"
        found.lost.append(Lost(name, "OTHER_FOLDER", text))
    else:
        text = "a link to a pipe, a socket or a device, no file"
        found.lost.append(Lost(name, "NOT_AN_IMAGE", text))
