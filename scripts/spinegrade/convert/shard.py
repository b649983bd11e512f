"""A shard of studies: each converted once, its result kept beside the volumes."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from spinegrade.convert.pixels import Scratch
from spinegrade.convert.refusals import refusal_row
from spinegrade.convert.series import Converted, convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.source import (
    STRAY,
    UNSAFE,
    SeriesSource,
    left_out_row,
    series_folder,
    stray_series,
)
from spinegrade.errors import SpinegradeError
from spinegrade.runtime.files import inside, read_json, write_json
from spinegrade.runtime.progress import progress
from spinegrade.series_files import list_series
from spinegrade.tables.copies import COPIES
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.series import SERIES
from spinegrade.tables.slices import SLICES
from spinegrade.tables.stacks import STACKS

_LOGGER = logging.getLogger("spinegrade")
TABLES = (STACKS, SLICES, COPIES, REJECTED)


def convert_shard(
    series_table: str | Path,
    shard: int,
    root: str | Path,
    folder: str | Path,
    block: Mapping[str, Any],
    code: str,
) -> None:
    """Convert the series of one shard and write its tables to ``folder``/<shard>/.

    ``series_table``: the cohort's series; those with a problem are passed over. ``root``:
    what their folders are relative to. ``code``: the fingerprint of the code, part of the
    key under which ``folder``/cache/<study>.json keeps each study's result, so that a job
    that was killed goes on where it stopped and a cohort that grew converts only what is new.
    """
    folder, root = Path(folder), Path(root)
    settings = ConvertSettings.of(block)
    series = read_table(series_table, SERIES)
    series = series[(series["shard"] == shard) & series["problem"].isna()]
    result = Converted()
    studies = sorted(series.groupby("study", sort=True), key=lambda item: item[0])
    scratch = Scratch()
    for study, rows in progress(studies, f"convert_dicom shard {shard}"):
        result.add(_study(str(study), rows, root, folder, settings, code, scratch))
    for kind in TABLES:
        table = pd.DataFrame(getattr(result, kind.name), columns=list(kind.columns))
        write_table(folder / str(shard) / f"{kind.name}.parquet", table, kind)
    _LOGGER.info(
        "shard %d: %d studies, %d stacks, %d slices, %d rejected rows",
        shard,
        len(studies),
        *(len(getattr(result, kind.name)) for kind in TABLES),
    )


def _study(
    study: str,
    rows: pd.DataFrame,
    root: Path,
    folder: Path,
    settings: ConvertSettings,
    code: str,
    scratch: Scratch,
) -> Converted:
    try:
        cache = inside(folder / "cache", f"{study}.json")
        volumes = inside(folder / "volumes", study)
    except SpinegradeError:
        found = "the study's name is not one plain path component"
        row = refusal_row(study, None, None, "UNSAFE_PATH", found, "study left out")
        return Converted(rejected=[row])
    result = Converted()
    sources = []
    for row in rows.sort_values("series").to_dict("records"):
        place = series_folder(root, row["folder"], row["series"])
        if place is None:
            result.rejected.append(left_out_row(study, row["series"], *UNSAFE))
            continue
        names = ("study", "series", "split", "plane", "weighting")
        sources.append(SeriesSource(*(row[name] for name in names), place))
    key = _study_key(sources, settings, code)
    kept = _from_cache(cache, key, folder)
    if kept is not None:
        return kept
    strays = stray_series(sources, settings)
    for source in sources:
        if source.series in strays:
            result.rejected.append(left_out_row(study, source.series, *STRAY))
        else:
            result.add(_guarded(source, folder, settings, scratch))
    _remove_stale(volumes, {folder / row["volume"] for row in result.stacks})
    write_json(cache, {"key": key, "sizes": _sizes(folder, result), **asdict(result)})
    return result


def _guarded(
    source: SeriesSource, folder: Path, settings: ConvertSettings, scratch: Scratch
) -> Converted:
    """Convert a series; an error that no rule foresees costs that series, with its trace logged.

    What is wrong with the machine (a full disk) still stops the shard.
    """
    try:
        return convert_series(source, folder, settings, scratch)
    except (OSError, SpinegradeError):
        raise
    except Exception as error:
        _LOGGER.exception("study %s, series %s", source.study, source.series)
        found = f"{type(error).__name__} while it was converted"
        row = left_out_row(source.study, source.series, "UNEXPECTED_ERROR", found)
        return Converted(rejected=[row])


def _study_key(sources: list[SeriesSource], settings: ConvertSettings, code: str) -> str:
    """Changes with the names, sizes and times of the study's files, its rows, rules or code."""
    digest = hashlib.sha256(json.dumps([code, asdict(settings)], sort_keys=True).encode())
    for source in sources:
        described = (source.series, source.split, source.plane, source.weighting)
        digest.update(repr(described).encode())
        digest.update(repr(_stamps(source.folder)).encode())
    return digest.hexdigest()


def _stamps(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of each file of a series; of what is no file its name."""
    try:
        listed = list_series(folder)
    except OSError:
        return []
    found = [(entry.name, -1, -1) for entry in listed.lost]
    for name in listed.files:
        try:
            known = (folder / name).stat()
        except OSError:
            found.append((name, -1, -1))
        else:
            found.append((name, known.st_size, known.st_mtime_ns))
    return sorted(found)


def _sizes(folder: Path, result: Converted) -> dict[str, int]:
    return {row["volume"]: (folder / row["volume"]).stat().st_size for row in result.stacks}


def _from_cache(cache: Path, key: str, folder: Path) -> Converted | None:
    """The kept result of a study, if it is this one and its volumes stand; else None."""
    if not cache.exists():
        return None
    try:
        kept = read_json(cache)
        if kept["key"] != key or kept["sizes"] != {
            name: (folder / name).stat().st_size for name in kept["sizes"]
        }:
            return None
        return Converted(*(kept[kind.name] for kind in TABLES))
    except (SpinegradeError, KeyError, TypeError, OSError):
        # A broken or old cache entry is no error: the study is converted again.
        return None


def _remove_stale(volumes: Path, wanted: set[Path]) -> None:
    """Remove volumes of an earlier conversion that no row names any more."""
    # Behind a link may lie what is not ours to remove.
    if volumes.is_dir() and not volumes.is_symlink():
        for path in volumes.iterdir():
            if path.suffix == ".nii" and path not in wanted:
                path.unlink()
