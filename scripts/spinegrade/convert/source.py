"""The files of a series: listed, read within bounds, and held to belong to one study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from spinegrade.convert.header import Frame, read_headers
from spinegrade.convert.objects import captures_beside_scans
from spinegrade.convert.refusals import Refused, plain_name, refusal_row
from spinegrade.convert.settings import ConvertSettings
from spinegrade.errors import SpinegradeError
from spinegrade.runtime.files import inside
from spinegrade.series_files import SeriesFiles, list_series

# Reject(file or None, code, found, what was done)
Reject = Callable[[str | None, str, str, str], None]
Read = Callable[[Path, float], list[Frame]]
_FILES_ASKED = 3
# Why a series is left out before it is read: a code of the refusals, and what was found.
UNSAFE = ("UNSAFE_PATH", "its name is not plain, or its folder leaves the cohort's root")
STRAY = ("OTHER_STUDY", "its headers name another study than the other series of the folder")
# Beyond any scan; what is grouped and ordered stays quick below it.
MOST_SLICES = 20_000


@dataclass(frozen=True)
class SeriesSource:
    """A series to convert: its ids, what it is described as, and the folder of its files."""

    study: str
    series: str
    split: str
    plane: str
    weighting: str
    folder: Path


def series_folder(root: Path, name: str, series: str) -> Path | None:
    """``root``/``name`` if its parts and ``series`` are plain path components, else None."""
    try:
        inside(root, series)
        return inside(root, *name.split("/"))
    except SpinegradeError:
        return None


def left_out_row(study: str, series: str, code: str, found: str) -> dict[str, Any]:
    """The rejected row of a series that is left out whole (see ``UNSAFE``, ``STRAY``)."""
    return refusal_row(study, series, None, code, found, "series left out")


def list_files(folder: Path) -> SeriesFiles:
    """The files of a series' folder, and the entries that are none (see ``list_series``).

    Raises Refused NO_FILES for a folder that cannot be listed or holds neither.
    """
    try:
        listed = list_series(folder)
    except OSError as error:
        found = f"the folder cannot be listed ({error.strerror})"
        raise Refused("NO_FILES", found) from error
    if not listed.files and not listed.lost:
        raise Refused("NO_FILES", "the folder holds no file")
    return listed


def file_count(folder: Path) -> int:
    """How many files lie in a series' folder, links to nothing included; 0 for none at all."""
    try:
        listed = list_files(folder)
    except Refused:
        return 0
    return len(listed.files) + len(listed.not_fetched)


def read_series(
    source: SeriesSource, settings: ConvertSettings, read: Read, reject: Reject
) -> list[Frame]:
    """The slices of a series by ``read`` (``read_frames`` or ``read_headers``).

    Files that cannot be read, that name another study, or that lie in another folder than the
    series' own images are handed to ``reject`` and left out, as is every entry that is no file;
    a series without files, or that would need more memory than ``settings.max_series_mb``, is
    refused whole: no frames. ``file`` of a frame is its name from the series' folder.
    """
    try:
        listed = list_files(source.folder)
    except Refused as refused:
        reject(None, refused.code, refused.found, "series left out")
        return []
    for lost in listed.lost:
        reject(lost.name, lost.code, lost.found, "left out")
    frames: list[Frame] = []
    needed, allowed = 0, settings.max_series_mb * 2**20
    for name in listed.files:
        try:
            found = read(_place(source.folder, name), settings.max_frame_mb)
        except SpinegradeError:
            reject(name, "UNSAFE_PATH", "the file's name is not plain", "file left out")
            continue
        except Refused as refused:
            reject(name, refused.code, refused.found, "file left out")
            continue
        needed += found[0].pixels.data_bytes + len(found) * found[0].pixels.slice_bytes
        if needed > allowed:
            text = f"its slices need more than {settings.max_series_mb:.0f} MB"
            reject(None, "TOO_LARGE", text, "series left out")
            return []
        # The reader knows the last part of the name alone.
        frames += [replace(frame, file=name) for frame in found] if "/" in name else found
        if len(frames) > MOST_SLICES:
            text = f"more than {MOST_SLICES} slices"
            reject(None, "TOO_LARGE", text, "series left out")
            return []
    frames = _of_one_folder(_without_captures(frames, reject), reject)
    return _of_one_study(frames, source.study, reject)


def _place(folder: Path, name: str) -> Path:
    return inside(folder, *name.split("/"))


def _of_one_folder(frames: list[Frame], reject: Reject) -> list[Frame]:
    """The slices of the one folder that holds the series; images elsewhere are refused by name.

    Images straight in the series' folder are the series. Without any, those of the one folder
    below that holds images are; where several do, nobody says which is meant, and none is taken.
    """
    if not any("/" in frame.file for frame in frames):
        return frames
    by_folder = Counter(str(PurePosixPath(frame.file).parent) for frame in frames)
    if len(by_folder) < 2:
        return frames
    if "." in by_folder:
        for folder in sorted(by_folder.keys() - {"."}):
            text = f"{by_folder[folder]} slices lie in a folder below the series' own images"
            reject(folder, "OTHER_FOLDER", text, "folder left out")
        return [frame for frame in frames if "/" not in frame.file]
    named = ", ".join(f"{plain_name(name)} ({by_folder[name]})" for name in sorted(by_folder))
    text = f"its slices lie in {len(by_folder)} folders below its own: {named}"
    reject(None, "OTHER_FOLDER", text, "series left out")
    return []


def _without_captures(frames: list[Frame], reject: Reject) -> list[Frame]:
    """Frames without saved screens and results that lie beside a scanner's images."""
    if len({frame.sop_class for frame in frames}) < 2:
        return frames
    captures = captures_beside_scans({frame.file: frame.sop_class for frame in frames})
    for file, found in captures.items():
        reject(file, "NOT_AN_IMAGE", found, "file left out")
    return [frame for frame in frames if frame.file not in captures] if captures else frames


def _of_one_study(frames: list[Frame], study: str, reject: Reject) -> list[Frame]:
    uids = {frame.file: frame.study_uid for frame in frames}
    own = own_study(uids.values(), study)
    if own is None:
        return frames
    strays = {file for file, uid in uids.items() if uid and uid != own}
    for file in sorted(strays):
        text = "its header names another study than the other files of the folder"
        reject(file, "OTHER_STUDY", text, "file left out")
    return [frame for frame in frames if frame.file not in strays] if strays else frames


def own_study(uids: Iterable[bytes], study: str) -> bytes | None:
    """The StudyInstanceUID to which all should belong; None where that cannot be said.

    The one that is the study folder's name, as in the RSNA data; else the one that most of
    them share. Headers without one, or each with its own (some anonymisers), say nothing.
    """
    counts = Counter(uid for uid in uids if uid)
    if len(counts) < 2:
        return None
    if counts[study.encode(errors="replace")]:
        return study.encode(errors="replace")
    (most, count), *_ = counts.most_common(1)
    return most if count >= 2 and 2 * count > counts.total() else None


def stray_series(sources: list[SeriesSource], settings: ConvertSettings) -> set[str]:
    """The series of a study whose headers name another study than its other series do.

    Asked is the first file that can be read, of three at most.
    """
    if len(sources) < 2:
        return set()
    uids = {source.series: _study_uid(source, settings) for source in sources}
    own = own_study(uids.values(), sources[0].study)
    return {series for series, uid in uids.items() if own and uid and uid != own}


def _study_uid(source: SeriesSource, settings: ConvertSettings) -> bytes:
    try:
        names = list_files(source.folder).files[:_FILES_ASKED]
    except Refused:
        return b""
    for name in names:
        try:
            return read_headers(_place(source.folder, name), settings.max_frame_mb)[0].study_uid
        except (Refused, SpinegradeError):
            continue
    return b""
