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

from spinegrade import tables
from spinegrade.cohort import layout, left_out
from spinegrade.cohort.folders import IMAGE_SUFFIX, scan_images
from spinegrade.cohort.labels_alone import Labels, read_labels_alone
from spinegrade.cohort.left_out import LeftOut
from spinegrade.cohort.problems import Problems
from spinegrade.cohort.read_tables import (
    Landmark,
    read_labels,
    read_landmarks,
    read_series,
    read_submission_studies,
)
from spinegrade.shards import shard_of

_LOGGER = logging.getLogger("spinegrade")

Described = dict[tuple[str, str], tuple[str, str]]
Folders = dict[str, dict[str, int]]


@dataclass(frozen=True)
class CohortTables:
    """The five tables of a cohort, of the kinds that their names say (see tables.SCHEMAS)."""

    studies: pd.DataFrame
    series: pd.DataFrame
    labels: pd.DataFrame
    landmarks: pd.DataFrame
    rejected: pd.DataFrame


@dataclass(frozen=True)
class _Delivered:
    """All that the CSV files and folders say, before they are held against each other."""

    labels: Labels
    landmarks: list[Landmark]
    described: dict[str, Described]
    submitted: list[str]
    folders: dict[str, Folders]


def read_cohort(root: str | Path, shards: int) -> CohortTables:
    """Read the tables and list the folders under ``root``; see docs/cohort.md for the layout.

    Raises SpinegradeError listing every fault: missing files or columns, unknown conditions,
    levels, grades or series descriptions, duplicated rows, bad ids or coordinates, a study in
    both the train and the test part, no train study with images.
    """
    delivered = _read(str(root))
    rejected = LeftOut()
    studies: list[dict[str, Any]] = []
    series: list[dict[str, Any]] = []
    described = delivered.described
    test_studies = {*(study for study, _ in described["test"]), *delivered.submitted}
    for split, known in (("train", set(delivered.labels)), ("test", test_studies)):
        by_study: dict[str, dict[str, tuple[str, str]]] = {study: {} for study in known}
        for (study, name), kind in described[split].items():
            by_study.setdefault(study, {})[name] = kind
        folders = delivered.folders[split]
        for study in sorted(by_study.keys() | folders.keys()):
            in_csv, there = by_study.get(study, {}), folders.get(study, {})
            if study not in known:
                rejected.add(left_out.STUDY_NOT_IN_CSV, study, _unknown(split, in_csv, there))
                continue
            rows = _series_rows(split, study, in_csv, there, rejected)
            series += rows
            usable = sum(row["problem"] is None for row in rows)
            studies.append(
                {
                    "study": study,
                    "split": split,
                    "region": "lumbar",
                    "series_count": usable,
                    "problem": None if usable else _why_unusable(there),
                }
            )
    landmarks = _landmarks_with_series(delivered.landmarks, series, rejected)
    if not any(row["split"] == "train" and row["problem"] is None for row in studies):
        problems = Problems()
        _note_no_images(str(root), delivered, problems)
        problems.raise_if_any(f"the cohort under {root}")
    for row in (*studies, *series):
        row["shard"] = shard_of(row["study"], shards)
    return CohortTables(
        studies=_table(studies, "studies"),
        series=_table(series, "series"),
        labels=_label_table(delivered.labels),
        landmarks=_table([point._asdict() for point in landmarks], "landmarks"),
        rejected=rejected.table(),
    )


def labelled_cohort(root: str | Path, shards: int) -> CohortTables:
    """A cohort of labels without images; see ``read_labels_alone``."""
    studies, labels = read_labels_alone(root, shards)
    none = {kind: tables.empty_table(kind) for kind in ("series", "landmarks", "rejected")}
    return CohortTables(studies=studies, labels=_label_table(labels), **none)


def index_cohort(
    root: str | Path, shards: int, folder: str | Path, labels_alone: bool = False
) -> CohortTables:
    """Read the cohort under ``root`` and write its five tables to ``folder``/<kind>.parquet.

    Logs what was found and what was left out. Raises SpinegradeError as ``read_cohort``
    (``labels_alone``: as ``labelled_cohort``) does; then nothing is written.
    """
    cohort = (labelled_cohort if labels_alone else read_cohort)(root, shards)
    for kind in ("studies", "series", "labels", "landmarks", "rejected"):
        tables.write_table(Path(folder) / f"{kind}.parquet", getattr(cohort, kind), kind)
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


def _read(root: str) -> _Delivered:
    problems = Problems()
    labels = read_labels(root, problems)
    landmarks = read_landmarks(root, problems)
    train = read_series(root, layout.TRAIN_SERIES, problems)
    folders = {
        "train": scan_images(Path(root) / layout.TRAIN_IMAGES),
        "test": scan_images(Path(root) / layout.TEST_IMAGES),
    }
    has_test = layout.csv_path(root, layout.TEST_SERIES) is not None
    # Without test images the test tables are not needed; with them they are.
    test = read_series(root, layout.TEST_SERIES, problems) if has_test or folders["test"] else {}
    has_submission = layout.csv_path(root, layout.SUBMISSION) is not None
    submitted = read_submission_studies(root, problems) if has_submission else []
    for study in sorted(labels.keys() & {*(study for study, _ in test), *submitted}):
        problems.add(
            "study in both parts",
            f"study {study} stands in {layout.LABELS} and in {layout.TEST_SERIES} or "
            f"{layout.SUBMISSION}; allowed: one of the two, else it would be scored on itself",
        )
    described = {"train": train, "test": test}
    delivered = _Delivered(labels, landmarks, described, submitted, folders)
    if not folders["train"]:
        _note_no_images(root, delivered, problems)
    problems.raise_if_any(f"the cohort under {root}")
    return delivered


def _note_no_images(root: str, delivered: _Delivered, problems: Problems) -> None:
    folder = Path(root) / layout.TRAIN_IMAGES
    if not folder.is_dir():
        found = "there is no such folder"
    elif not delivered.folders["train"]:
        found = "it holds no study folder"
    else:
        there = list(delivered.folders["train"])[:3]
        found = (
            f"none of its {len(delivered.folders['train'])} folders ({', '.join(there)} ..) is a "
            f"study of {layout.LABELS} with images in a series of {layout.TRAIN_SERIES}"
        )
    problems.add(
        "no train study with images",
        f"{folder}: {found}; expected <study>/<series>/<instance>{IMAGE_SUFFIX}",
    )


def _unknown(split: str, in_csv: dict[str, tuple[str, str]], there: dict[str, int]) -> str:
    table = layout.LABELS if split == "train" else layout.TEST_SERIES
    found = f"{len(there)} series folders in {split}_images" if there else "no images"
    if in_csv:
        found += f", {len(in_csv)} rows in {split}_series_descriptions.csv"
    return f"{found}, no row in {table}"


def _why_unusable(there: dict[str, int]) -> str:
    has_images = any(there.values())
    return left_out.STUDY_WITHOUT_SERIES if has_images else left_out.STUDY_WITHOUT_IMAGES


def _series_rows(
    split: str,
    study: str,
    in_csv: dict[str, tuple[str, str]],
    there: dict[str, int],
    rejected: LeftOut,
) -> list[dict[str, Any]]:
    """Rows of one study's described series; what cannot be used is noted in ``rejected``."""
    images, table = f"{split}_images", f"{split}_series_descriptions.csv"
    usable = any(there.get(name, 0) for name in in_csv)
    rows = []
    for name, (plane, weighting) in sorted(in_csv.items()):
        problem = None
        if name not in there:
            problem, found = left_out.SERIES_WITHOUT_FOLDER, f"a row in {table}, no folder"
        elif not there[name]:
            problem = left_out.EMPTY_SERIES
            found = f"{images}/{study}/{name} holds no {IMAGE_SUFFIX} file"
        # One row says that a study is left out; its series would only repeat it.
        if problem and usable:
            rejected.add(problem, study, found, name)
        rows.append(
            {
                "study": study,
                "series": name,
                "split": split,
                "plane": plane,
                "weighting": weighting,
                "folder": f"{images}/{study}/{name}",
                "file_count": there.get(name, 0),
                "problem": problem,
            }
        )
    for name in sorted(there.keys() - in_csv.keys()):
        if usable:
            found = f"{there[name]} {IMAGE_SUFFIX} files in {images}, no row in {table}"
            rejected.add(left_out.SERIES_NOT_IN_CSV, study, found, name)
    if not usable:
        code = _why_unusable(there)
        if code == left_out.STUDY_WITHOUT_SERIES:
            found = f"images in {len(there)} series of {images}/{study}, none described in {table}"
        elif there:
            found = f"{images}/{study} holds {len(there)} series folders, all empty"
        else:
            found = f"{len(in_csv)} rows in {table}, no series folder in {images}/{study}"
        rejected.add(code, study, found)
    return rows


def _landmarks_with_series(
    landmarks: list[Landmark],
    series: list[dict[str, Any]],
    rejected: LeftOut,
) -> list[Landmark]:
    """Points of usable train series; the others are noted, one row a series."""
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
    table = pd.DataFrame(rows, columns=list(tables.SCHEMAS["labels"]))
    return table.assign(grade=table["grade"].astype("Int64"))


def _table(rows: list[dict[str, Any]], kind: str) -> pd.DataFrame:
    return pd.DataFrame(rows) if rows else tables.empty_table(kind)
