"""What conversion will make of each series, told from the headers of its files alone."""

from __future__ import annotations

import gc
import itertools
import logging
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spinegrade.conversion_codes import NOTE_CODES
from spinegrade.convert.header import read_frames, read_headers
from spinegrade.convert.pixel_format import PixelsNotRead
from spinegrade.convert.plan import PlannedStack, plan_series
from spinegrade.convert.refusals import plain_name, refusal_row
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.shear import shear_notes
from spinegrade.convert.source import (
    STRAY,
    UNSAFE,
    Read,
    SeriesSource,
    file_count,
    left_out_row,
    read_series,
    series_folder,
    stray_series,
)
from spinegrade.convert.survey_places import SeriesPlaces, series_places
from spinegrade.geometry.stacks import tilt_degrees
from spinegrade.runtime.progress import Progress
from spinegrade.tables.files import Kind, check_table, read_table
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.series import SERIES
from spinegrade.tables.verdicts import VERDICTS

_LOGGER = logging.getLogger("spinegrade")

UNEXPECTED = "UNEXPECTED_ERROR"

# Files that are handed to a process at a time: enough to hide the way there and back, few
# enough for the estimate of the time left to move.
_BATCH_FILES = 500
# A process takes as long to start as some ten thousand headers take to read.
LEAST_FILES_A_PROCESS = 10_000

Row = dict[str, Any]


@dataclass
class SurveyedSeries:
    """A row of the table verdicts and the rows of the table rejected that explain it.

    ``error``: the trace of an error that no rule foresees, for the log. ``places``: where the
    slices lie, of a train series with a volume.
    """

    verdict: Row
    rejected: list[Row] = field(default_factory=list)
    error: str = ""
    places: SeriesPlaces | None = field(default=None, compare=False)


@dataclass(frozen=True)
class SurveyedCohort:
    """Tables of kind verdicts (a row a series) and rejected, and where the train slices lie."""

    verdicts: pd.DataFrame
    rejected: pd.DataFrame
    places: list[SeriesPlaces]


def survey_series(source: SeriesSource, settings: ConvertSettings) -> SurveyedSeries:
    """What ``convert_series`` would make of a series, with the codes that headers can show.

    Reads the start of each file; the pixels too only where slices share a position, since
    copies are told apart by them. Never raises for what a file holds.
    """
    try:
        return _survey(source, settings, read_headers)
    except PixelsNotRead:
        return _survey(source, settings, read_frames)


def _survey(source: SeriesSource, settings: ConvertSettings, read: Read) -> SurveyedSeries:
    rejected: list[Row] = []

    def reject(file: str | None, code: str, found: str, action: str) -> None:
        row = refusal_row(source.study, source.series, file, code, found, action)
        rejected.append(row)

    frames = read_series(source, settings, read, reject)
    planned: list[PlannedStack] = []
    if frames:
        planned, notes = plan_series(frames, source.plane, settings)
        notes += shear_notes(planned)
        for note in notes:
            reject(note.file, note.code, note.found, note.action)
    verdict = _verdict(source, file_count(source.folder), planned, rejected)
    places = series_places(source, planned) if planned and source.split == "train" else None
    return SurveyedSeries(verdict, rejected, places=places)


def _verdict(
    source: SeriesSource, files: int, planned: list[PlannedStack], rejected: list[Row]
) -> Row:
    """The row of a series: refused without a volume, good where nothing but notes was told."""
    codes = sorted({row["code"] for row in rejected})
    lost = [code for code in codes if code not in NOTE_CODES]
    verdict = "refused" if not planned else "partial" if lost else "good"
    row = _empty_row(source.study, source.series, verdict, codes, files)
    row |= {"split": source.split, "plane": source.plane, "weighting": source.weighting}
    if planned:
        largest = max(planned, key=lambda stack: len(stack.frames))
        frame = largest.frames[0]
        steps = np.linalg.norm(largest.affine[:3, :3], axis=0)
        row |= {
            "slices": sum(len(stack.frames) for stack in planned),
            "volumes": len(planned),
            "rows": frame.pixels.rows,
            "cols": frame.pixels.cols,
            "row_spacing_mm": float(steps[1]),
            "col_spacing_mm": float(steps[0]),
            "slice_spacing_mm": float(steps[2]),
            "tilt_degrees": tilt_degrees(frame.orientation, source.plane) if source.plane else None,
        }
    return row


def _empty_row(study: str, series: str, verdict: str, codes: list[str], files: int) -> Row:
    return {
        **dict.fromkeys(VERDICTS.columns),
        "study": plain_name(study),
        "series": plain_name(series),
        "verdict": verdict,
        "codes": ",".join(codes),
        "files": files,
        "slices": 0,
        "volumes": 0,
    }


def survey_cohort(
    series_table: str | Path, root: str | Path, settings: ConvertSettings, processes: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables verdicts and rejected of ``survey_with_places``."""
    surveyed = survey_with_places(series_table, root, settings, processes)
    return surveyed.verdicts, surveyed.rejected


def survey_with_places(
    series_table: str | Path, root: str | Path, settings: ConvertSettings, processes: int = 1
) -> SurveyedCohort:
    """What conversion will make of each series of ``series_table``.

    ``root``: what the folders of the series are relative to. A series with a problem is
    refused by that code without being read; its row of rejected is the cohort's own. Studies
    are read in up to ``processes`` processes; nothing is kept of one but its rows and places.
    """
    series = read_table(series_table, SERIES).sort_values(["study", "series"])
    rows = series.astype(object).where(series.notna(), None).to_dict("records")
    given = [row for row in rows if row["problem"] is None]
    found = [SurveyedSeries(_left_out_row(row)) for row in rows if row["problem"] is not None]
    batches = list(_batches(given))
    survey = partial(_survey_batch, root=Path(root), settings=settings)
    with _workers(min(processes, _files(given) // LEAST_FILES_A_PROCESS)) as pool:
        counter = Progress("Checking headers, files", _files(given))
        for number, surveyed in _results(pool, survey, batches):
            found += surveyed
            for one in surveyed:
                if one.error:
                    study, name = one.verdict["study"], one.verdict["series"]
                    _LOGGER.error("study %s, series %s\n%s", study, name, one.error)
            counter.step(sum(map(_files, batches[number])))
    found.sort(key=lambda one: (one.verdict["study"], one.verdict["series"]))
    rejected = [row for one in found for row in one.rejected]
    return SurveyedCohort(
        _table([one.verdict for one in found], VERDICTS),
        _table(rejected, REJECTED),
        [one.places for one in found if one.places],
    )


def _table(rows: list[Row], kind: Kind) -> pd.DataFrame:
    return check_table(pd.DataFrame(rows, columns=list(kind.columns)), kind)


def _left_out_row(row: Row) -> Row:
    verdict = _empty_row(row["study"], row["series"], "refused", [row["problem"]], 0)
    kept = ("split", "plane", "weighting")
    return verdict | {name: row[name] for name in kept} | {"files": row["file_count"]}


def _files(rows: list[Row]) -> int:
    return sum(row["file_count"] for row in rows)


def _batches(rows: list[Row]) -> Iterator[list[list[Row]]]:
    """Whole studies in lots of about _BATCH_FILES files."""
    batch: list[list[Row]] = []
    for _, study in itertools.groupby(rows, key=lambda row: row["study"]):
        batch.append(list(study))
        if sum(map(_files, batch)) >= _BATCH_FILES:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def _workers(count: int) -> Iterator[ProcessPoolExecutor | None]:
    """A pool of ``count`` processes, the first of which stands; None where one is enough."""
    if count <= 1:
        yield None
        return
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        try:
            # What it takes to start must not enter the estimate of the time left.
            pool.submit(int).result()
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _results(
    pool: ProcessPoolExecutor | None,
    survey: Callable[[list[list[Row]]], list[SurveyedSeries]],
    batches: list[list[list[Row]]],
) -> Iterator[tuple[int, list[SurveyedSeries]]]:
    """Each batch's number and result, as they come."""
    if pool is None:
        yield from ((number, survey(batch)) for number, batch in enumerate(batches))
        return
    jobs = {pool.submit(survey, batch): number for number, batch in enumerate(batches)}
    for job in as_completed(list(jobs)):
        yield jobs.pop(job), job.result()


def _survey_batch(
    batch: list[list[Row]], root: Path, settings: ConvertSettings
) -> list[SurveyedSeries]:
    # A sixth of the time goes to looking for circles of references, of which there are none.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return [one for rows in batch for one in _survey_study(rows, root, settings)]
    finally:
        if collecting:
            gc.enable()


def _survey_study(rows: list[Row], root: Path, settings: ConvertSettings) -> list[SurveyedSeries]:
    """The series of one study, each held against the others as conversion does."""
    found, sources = [], []
    for row in rows:
        folder = series_folder(root, row["folder"], row["series"])
        names = ("study", "series", "split", "plane", "weighting")
        source = SeriesSource(*(row[name] for name in names), folder or root)
        if folder is None:
            found.append(_left_out(source, 0, UNSAFE))
        else:
            sources.append(source)
    strays = stray_series(sources, settings)
    for source in sources:
        if source.series in strays:
            found.append(_left_out(source, file_count(source.folder), STRAY))
        else:
            found.append(_guarded(source, settings))
    return found


def _left_out(source: SeriesSource, files: int, why: tuple[str, str]) -> SurveyedSeries:
    row = left_out_row(source.study, source.series, *why)
    return SurveyedSeries(_verdict(source, files, [], [row]), [row])


def _guarded(source: SeriesSource, settings: ConvertSettings) -> SurveyedSeries:
    """The verdict on a series; an error that no rule foresees becomes one too.

    Conversion would stop at it. The check goes on, so that all such series are found at once.
    """
    try:
        return survey_series(source, settings)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        found = f"{type(error).__name__} in {place.name}, line {place.lineno}"
        row = left_out_row(source.study, source.series, UNEXPECTED, found)
        verdict = _verdict(source, file_count(source.folder), [], [row])
        return SurveyedSeries(verdict, [row], traceback.format_exc())
