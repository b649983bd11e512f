"""The image folders of a cohort: which studies and series lie there, and how many files each.

No image is opened. One directory listing a study and one a series.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from spinegrade.runtime.progress import Progress

_LOGGER = logging.getLogger("spinegrade")
IMAGE_SUFFIX = ".dcm"


def _folders(path: str | Path) -> list[os.DirEntry[str]]:
    """The folders in ``path``; none, with a warning, where it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            found = [e for e in entries if not e.name.startswith(".") and e.is_dir()]
    except OSError as error:
        _LOGGER.warning("%s: counted as empty, it cannot be listed (%s)", path, error.strerror)
        return []
    return sorted(found, key=lambda entry: entry.name)


def _count_images(path: str) -> int:
    try:
        with os.scandir(path) as entries:
            return sum(
                entry.name.lower().endswith(IMAGE_SUFFIX) and not entry.name.startswith(".")
                for entry in entries
            )
    except OSError as error:
        _LOGGER.warning("%s: counted as empty, it cannot be listed (%s)", path, error.strerror)
        return 0


def scan_images(folder: str | Path) -> dict[str, dict[str, int]]:
    """Number of image files by study and series under ``folder``, sorted by name.

    An image file ends in .dcm (any case). Hidden entries and loose files are passed over.
    A folder that is not there, or that cannot be listed, holds no study or file.
    """
    if not Path(folder).is_dir():
        return {}
    studies = _folders(folder)
    progress = Progress(f"Listing {folder}", len(studies))
    found: dict[str, dict[str, int]] = {}
    for study in studies:
        found[study.name] = {s.name: _count_images(s.path) for s in _folders(study.path)}
        progress.step()
    return found


def listing_digest(folder: str | Path) -> str:
    """Sixteen hex digits that change when a file under ``folder`` comes, goes or is renamed.

    Taken over names and times of the study and series folders, without listing a series:
    quick enough to run whenever the job graph is built. It does not see a file that is
    overwritten in place.
    """
    digest = hashlib.sha256()
    if Path(folder).is_dir():
        for study in _folders(folder):
            for series in _folders(study.path):
                changed = series.stat().st_mtime_ns
                digest.update(f"{study.name}/{series.name} {changed}\n".encode(errors="replace"))
            digest.update(f"{study.name}\n".encode(errors="replace"))
    return digest.hexdigest()[:16]


def plain_text(name: str) -> str:
    """``name`` as it may be stored and shown: unprintable characters are escaped."""
    return name if name.isprintable() and name.isascii() else ascii(name)
