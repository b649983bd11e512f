"""The delivered tables, row by row to the project's words; every fault is noted, none fatal."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from spinegrade.cohort.csv_file import check_id, check_new, read_csv_file
from spinegrade.cohort.layout import LABELS, LANDMARKS, SUBMISSION
from spinegrade.cohort.problems import Problems
from spinegrade.kaggle_rsna2024 import (
    CELL_BY_COLUMN,
    KAGGLE_GRADES,
    KAGGLE_SERIES,
    kaggle_condition,
    kaggle_level,
)
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS, LUMBAR_LEVELS
from spinegrade.regions.region import Cell

LANDMARK_COLUMNS = ("study_id", "series_id", "instance_number", "condition", "level", "x", "y")
SERIES_COLUMNS = ("study_id", "series_id", "series_description")
_GRADES = {text.lower(): grade for text, grade in KAGGLE_GRADES.items()} | {
    text.lower().replace("/", "_"): grade for text, grade in KAGGLE_GRADES.items()
}
_GRADES_ALLOWED = ", ".join(KAGGLE_GRADES) + ", or nothing where it was not graded"
_SERIES = {text.lower(): kind for text, kind in KAGGLE_SERIES.items()}
_SERIES_ALLOWED = ", ".join(KAGGLE_SERIES)
_CONDITIONS_ALLOWED = ", ".join(
    sorted({cell.column[: -len(cell.level) - 1] for cell in LUMBAR_CELLS})
)
_LIKE_A_CELL = re.compile(r"stenosis|narrowing|_[tlcs]\d_[tlcs]\d$")
_WHOLE = re.compile(r"[0-9]{1,9}(\.0+)?", re.ASCII)


class Landmark(NamedTuple):
    """One annotated point as delivered: px of its image, (0, 0) the first pixel's centre."""

    study: str
    series: str
    instance_number: int
    condition: str
    level: str
    side: str
    x_px: float
    y_px: float


def snake(text: str) -> str:
    """``Left Subarticular Stenosis L1/L2`` -> ``left_subarticular_stenosis_l1_l2``."""
    return re.sub(r"[\s/]+", "_", text.strip().lower())


def read_labels(
    root: str, problems: Problems, rows_needed: bool = True
) -> dict[str, dict[Cell, int | None]]:
    """Grades 0, 1, 2 or None (not graded) of all 25 cells by study, from ``train.csv``.

    ``rows_needed``: a table that is its header alone is a fault.
    """
    columns = list(CELL_BY_COLUMN)
    file = read_csv_file(root, LABELS, ("study_id", *columns), problems, rename=snake)
    if file is None:
        return {}
    for column in file.columns:
        if column not in CELL_BY_COLUMN and _LIKE_A_CELL.search(column):
            problems.add(
                f"{file.name}: unknown condition or level",
                f"column {column!r}; allowed: {_CONDITIONS_ALLOWED}, each followed by one of "
                + ", ".join(LUMBAR_LEVELS),
            )
    found: dict[str, dict[Cell, int | None]] = {}
    seen: dict[tuple[str, ...], int] = {}
    for line, (study, *texts) in file.records(("study_id", *columns)):
        if not check_id(file.name, line, "study_id", study, problems):
            continue
        if not check_new(file.name, line, (study,), "study", seen, problems):
            continue
        found[study] = {}
        for column, text in zip(columns, texts, strict=True):
            if text and text.lower() not in _GRADES:
                problems.add(
                    f"{file.name}: unknown grade",
                    f"line {line}, study {study}, {column} is {text!r}; allowed: {_GRADES_ALLOWED}",
                )
            found[study][CELL_BY_COLUMN[column]] = _GRADES.get(text.lower())
    if rows_needed and not found and not problems:
        problems.add(f"{file.name}: no rows", "it names no study; at least one is needed")
    return found


def read_series(root: str, name: str, problems: Problems) -> dict[tuple[str, str], tuple[str, str]]:
    """(plane, weighting) by (study, series), from a table of series descriptions."""
    file = read_csv_file(root, name, SERIES_COLUMNS, problems, rename=snake)
    found: dict[tuple[str, str], tuple[str, str]] = {}
    seen: dict[tuple[str, ...], int] = {}
    if file is None:
        return found
    for line, (study, series, description) in file.records(SERIES_COLUMNS):
        good_study = check_id(file.name, line, "study_id", study, problems)
        good_series = check_id(file.name, line, "series_id", series, problems)
        if not (good_study and good_series):
            continue
        if not check_new(file.name, line, (study, series), "study, series", seen, problems):
            continue
        kind = _SERIES.get(description.lower())
        if kind is None:
            problems.add(
                f"{file.name}: unknown series description",
                f"line {line}, study {study}, series {series} is {description!r}; "
                f"allowed: {_SERIES_ALLOWED}",
            )
            continue
        found[study, series] = kind
    return found


def read_landmarks(root: str, problems: Problems) -> list[Landmark]:
    """Annotated points of ``train_label_coordinates.csv``; further columns are passed over.

    Several points of one cell are all kept: docs/annotations.md says what becomes of them.
    """
    file = read_csv_file(root, LANDMARKS, LANDMARK_COLUMNS, problems, rename=snake)
    found: list[Landmark] = []
    if file is None:
        return found
    for line, row in file.records(LANDMARK_COLUMNS):
        study, series, instance, condition_text, level_text, x_text, y_text = row
        good_study = check_id(file.name, line, "study_id", study, problems)
        good_series = check_id(file.name, line, "series_id", series, problems)
        where = f"line {line}, study {study}, series {series}"
        place = _place(file.name, where, condition_text, level_text, problems)
        point = [_pixel(file.name, where, axis, text, problems)
                 for axis, text in (("x", x_text), ("y", y_text))]  # fmt: skip
        if not _WHOLE.fullmatch(instance):
            problems.add(
                f"{file.name}: bad instance number",
                f"{where}, instance_number is {instance!r}; allowed: a whole number from 0",
            )
            continue
        if not (good_study and good_series) or place is None or None in point:
            continue
        found.append(Landmark(study, series, int(instance.split(".")[0]), *place, *point))
    return found


def _place(
    file: str, where: str, condition: str, level: str, problems: Problems
) -> tuple[str, str, str] | None:
    cell = None
    try:
        cell = kaggle_condition(condition)
    except KeyError:
        problems.add(
            f"{file}: unknown condition",
            f"{where}, condition is {condition!r}; allowed: {_CONDITIONS_ALLOWED} "
            "(or the same in title case)",
        )
    try:
        known = kaggle_level(level)
    except KeyError:
        problems.add(
            f"{file}: unknown level",
            f"{where}, level is {level!r}; allowed: L1/L2 .. L5/S1 or l1_l2 .. l5_s1",
        )
        return None
    return (cell[0], known, cell[1]) if cell else None


def _pixel(file: str, where: str, axis: str, text: str, problems: Problems) -> float | None:
    try:
        # float() would read 1_5 as 15.
        value = math.nan if "_" in text else float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and value >= 0:
        return value
    problems.add(
        f"{file}: bad coordinate",
        f"{where}, {axis} is {text!r}; allowed: a finite number of pixels from 0",
    )
    return None


def read_submission_studies(root: str, problems: Problems) -> list[str]:
    """Studies of ``sample_submission.csv`` in order of appearance; each row id is checked."""
    file = read_csv_file(root, SUBMISSION, ("row_id",), problems, rename=snake)
    studies: dict[str, None] = {}
    seen: dict[tuple[str, ...], int] = {}
    if file is None:
        return []
    for line, (row_id,) in file.records(("row_id",)):
        study, _, column = row_id.partition("_")
        if not check_id(file.name, line, "study of row_id", study, problems):
            continue
        if column not in CELL_BY_COLUMN:
            problems.add(
                f"{file.name}: unknown condition or level",
                f"line {line}, row_id {row_id!r}; allowed: <study>_<column of {LABELS}>",
            )
        if check_new(file.name, line, (row_id,), "row_id", seen, problems):
            studies.setdefault(study)
    return list(studies)
