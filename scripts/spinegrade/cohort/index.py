"""A folder in the Kaggle RSNA 2024 layout to the typed tables of a cohort.

What is wrong in a table is refused, all faults at once. What is merely absent (images of a
study, rows for a folder) is left out and listed, since the rest of the cohort can be used.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from spinegrade.cohort import layout, left_out
from spinegrade.cohort.folders import StudyFolder
from spinegrade.cohort.given import Given, note_no_images, note_not_fetched, read_given
from spinegrade.cohort.labels_alone import Labels, read_labels_alone
from spinegrade.cohort.left_out import LeftOut
from spinegrade.cohort.problems import Problems
from spinegrade.cohort.read_tables import Landmark
from spinegrade.cohort.series_rows import series_rows, unknown_study, why_unusable
from spinegrade.shards import shard_of
from spinegrade.tables.files import Kind, empty_table, write_table
from spinegrade.tables.labels import LABELS
from spinegrade.tables.landmarks import LANDMARKS
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.series import SERIES
from spinegrade.tables.studies import STUDIES

_LOGGER = logging.getLogger("spinegrade")


@dataclass(frozen=True)
class CohortTables:
    """The five tables of a cohort, of the kinds that their names say."""

    studies: pd.DataFrame
    series: pd.DataFrame
    labels: pd.DataFrame
    landmarks: pd.DataFrame
    rejected: pd.DataFrame


def read_cohort(root: str | Path, shards: int, trains: bool = True) -> CohortTables:
    """Read the tables and list the folders under ``root``; see docs/cohort.md for the layout.

    ``trains`` false: the models come from a finished run. Then grades and points are not needed,
    and a study without a single grade is a new one, of the test part, wherever its images lie.

    Raises SpinegradeError listing every fault: missing files or columns, unknown conditions,
    levels, grades or series descriptions, duplicated rows, bad ids or coordinates, a study in
    both the train and the test part, no (train) study with images, or none that was fetched.
    """
    given = read_given(str(root), trains)
    rejected = LeftOut()
    studies: list[dict[str, Any]] = []
    series: list[dict[str, Any]] = []
    for part, known in given.known(trains).items():
        by_study: dict[str, dict[str, tuple[str, str]]] = {study: {} for study in known}
        for (study, name), kind in given.described[part].items():
            by_study.setdefault(study, {})[name] = kind
        folders = given.folders[part]
        for study in sorted(by_study.keys() | folders.keys()):
            in_csv, there = by_study.get(study, {}), folders.get(study, StudyFolder())
            if study not in known:
                found = unknown_study(part, in_csv, there)
                rejected.add(left_out.STUDY_NOT_IN_CSV, study, found)
                continue
            rows = series_rows(str(root), part, study, in_csv, there, rejected)
            series += rows
            usable = sum(row["problem"] is None for row in rows)
            studies.append(
                {
                    "study": study,
                    "split": part,
                    "region": "lumbar",
                    "series_count": usable,
                    "problem": None if usable else why_unusable(there),
                }
            )
    landmarks = _landmarks_with_series(given.landmarks, series, rejected)
    _check_images(str(root), given, series, trains)
    labels = given.labels if trains else _graded(given.labels)
    for row in (*studies, *series):
        row["shard"] = shard_of(row["study"], shards)
        if row["study"] not in labels:
            row["split"] = "test"
    return CohortTables(
        studies=_table(studies, STUDIES),
        series=_table(series, SERIES),
        labels=_label_table(labels),
        landmarks=_table([point._asdict() for point in landmarks], LANDMARKS),
        rejected=rejected.table(),
    )


def _graded(labels: Labels) -> Labels:
    """The studies with at least one grade."""
    return {
        study: grades
        for study, grades in labels.items()
        if any(grade is not None for grade in grades.values())
    }


def _check_images(root: str, given: Given, series: list[dict[str, Any]], trains: bool) -> None:
    """Refuse a cohort no study of which has an image that was fetched."""
    parts = ("train",) if trains else ("train", "test")
    usable = [row for row in series if row["split"] in parts and row["problem"] is None]
    counts = [given.folders[row["split"]][row["study"]].series[row["series"]] for row in usable]
    problems = Problems()
    if not usable:
        note_no_images(root, given, trains, problems)
    elif all(count.files == count.not_fetched for count in counts):
        note_not_fetched(root, sum(count.files for count in counts), problems)
    problems.raise_if_any(f"the cohort under {root}")


def labelled_cohort(root: str | Path, shards: int) -> CohortTables:
    """A cohort of labels without images; see ``read_labels_alone``."""
    studies, labels = read_labels_alone(root, shards)
    none = {kind.name: empty_table(kind) for kind in (SERIES, LANDMARKS, REJECTED)}
    return CohortTables(studies=studies, labels=_label_table(labels), **none)


def index_cohort(
    root: str | Path,
    shards: int,
    folder: str | Path,
    labels_alone: bool = False,
    trains: bool = True,
) -> CohortTables:
    """Read the cohort under ``root`` and write its five tables to ``folder``/<kind>.parquet.

    Logs what was found and what was left out. Raises SpinegradeError as ``read_cohort``
    (``labels_alone``: as ``labelled_cohort``) does; then nothing is written.
    """
    cohort = labelled_cohort(root, shards) if labels_alone else read_cohort(root, shards, trains)
    for kind in (STUDIES, SERIES, LABELS, LANDMARKS, REJECTED):
        write_table(Path(folder) / f"{kind.name}.parquet", getattr(cohort, kind.name), kind)
    used = cohort.studies[cohort.studies["problem"].isna()]
    counts = used["split"].value_counts()
    _LOGGER.info(
        "%d train and %d test studies used, %d series, %d labelled cells, %d points",
        counts.get("train", 0),
        counts.get("test", 0),
        cohort.series["problem"].isna().sum(),
        cohort.labels["grade"].notna().sum(),
        len(cohort.landmarks),
    )
    for code, count in cohort.rejected["code"].value_counts().items():
        _LOGGER.warning("left out: %s, %d", code, count)
    return cohort


def _landmarks_with_series(
    landmarks: list[Landmark],
    series: list[dict[str, Any]],
    rejected: LeftOut,
) -> list[Landmark]:
    """Points of usable series of the train part; the others are noted, one row a series."""
    train = [row for row in series if row["split"] == "train"]
    usable = {(row["study"], row["series"]) for row in train if row["problem"] is None}
    told = {row["study"] for row in rejected.rows if row["series"] is None}
    kept = [point for point in landmarks if (point.study, point.series) in usable]
    lost = Counter((p.study, p.series) for p in landmarks if (p.study, p.series) not in usable)
    for (study, name), count in sorted(lost.items()):
        if study not in told:
            found = f"{count} points of {layout.LANDMARKS} in a series that is not there"
            rejected.add(left_out.LANDMARK_WITHOUT_SERIES, study, found, name)
    return kept


def _label_table(labels: Labels) -> pd.DataFrame:
    rows = [
        (study, *cell, grade) for study in sorted(labels) for cell, grade in labels[study].items()
    ]
    if not rows:
        return empty_table(LABELS)
    table = pd.DataFrame(rows, columns=list(LABELS.columns))
    return table.assign(grade=table["grade"].astype("Int64"))


def _table(rows: list[dict[str, Any]], kind: Kind) -> pd.DataFrame:
    return pd.DataFrame(rows) if rows else empty_table(kind)
