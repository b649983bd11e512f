"""Labels matched with probabilities by key, checked, as arrays: what every metric works on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.regions.region import Region

KEY = ["study", "condition", "level", "side"]
SUM_TOLERANCE = 1e-3
# What floating point adds to a sum that is off by exactly the tolerance (0.333 three times).
_ROUNDING = 1e-9


@dataclass(frozen=True)
class LabelledCells:
    """The labelled cells of a cohort, in the order of the labels table, all of ``region``.

    ``study`` (n,) int64 codes into ``studies`` (sorted ids); ``condition`` (n,) int64 codes into
    the region's conditions; ``level`` and ``side`` (n,) str; ``grade`` (n,) int64 of 0, 1, 2.
    """

    region: Region
    studies: np.ndarray
    study: np.ndarray
    condition: np.ndarray
    level: np.ndarray
    side: np.ndarray
    grade: np.ndarray

    def __len__(self) -> int:
        return len(self.grade)

    def part(self, chosen: np.ndarray) -> LabelledCells:
        """The cells where the boolean mask ``chosen`` (n,) holds; study codes are renewed."""
        kept, study = np.unique(self.study[chosen], return_inverse=True)
        return LabelledCells(
            self.region,
            self.studies[kept],
            study,
            self.condition[chosen],
            self.level[chosen],
            self.side[chosen],
            self.grade[chosen],
        )


def name_row(table: pd.DataFrame, row: int) -> str:
    """``row 7 (study=..., condition=..., level=..., side=...)`` for an error message."""
    values = ", ".join(f"{column}={table[column].iloc[row]}" for column in KEY)
    return f"row {row} ({values})"


def _refuse(code: str, what: str, table: pd.DataFrame, wrong: np.ndarray, problem: str) -> None:
    """Raise a SpinegradeError that names the first row where ``wrong`` (n,) holds."""
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        more = int(wrong.sum()) - 1
        tail = f" ({more} more rows like it)" if more else ""
        raise SpinegradeError(f"{what}: {name_row(table, row)} {problem}{tail}", code=code)


def _check_columns(table: pd.DataFrame, columns: list[str], what: str) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise SpinegradeError(
            f"{what}: missing columns {missing}; expected {columns}", code="CELLS_COLUMNS"
        )


def _key_codes(tables: list[pd.DataFrame]) -> list[np.ndarray]:
    """One int64 code a row and table, equal where the whole key is equal."""
    ends = np.cumsum([len(table) for table in tables])
    codes = np.zeros(ends[-1], dtype=np.int64)
    for column in KEY:
        parts = [t[column].astype("str") if column == "study" else t[column] for t in tables]
        part, values = pd.factorize(pd.concat(parts, ignore_index=True))
        codes = codes * (len(values) + 1) + part + 1
    return np.split(codes, ends[:-1])


def _checked_grades(labels: pd.DataFrame) -> np.ndarray:
    """Grades as (n,) float64 with NaN for a missing one; refuses anything but 0, 1, 2."""
    try:
        grade = labels["grade"].to_numpy(dtype="float64", na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise SpinegradeError(
            f"labels: column grade is not numeric ({error})", code="CELLS_NO_NUMBER"
        ) from error
    wrong = ~(np.isnan(grade) | np.isin(grade, (0.0, 1.0, 2.0)))
    if wrong.any():
        found = grade[wrong][0]
        _refuse(
            "CELL_GRADE_UNKNOWN",
            "labels",
            labels,
            wrong,
            f"has grade {found:g}; allowed: 0, 1, 2 or missing",
        )
    return grade


def checked_probabilities(
    table: pd.DataFrame, region: Region, what: str = "probabilities"
) -> np.ndarray:
    """The probabilities of the region's grades as (n, 3) float64, each row summing to one.

    A row whose sum is off by at most ``SUM_TOLERANCE`` is divided by its sum, so that rounding
    in a file never moves a score. Raises SpinegradeError, with the row named, for values that
    are not numbers, not finite or negative and for sums that are further off.
    """
    columns = list(region.probability_columns)
    _check_columns(table, [*KEY, *columns], what)
    try:
        values = table[columns].to_numpy(dtype="float64", na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise SpinegradeError(
            f"{what}: columns {columns} are not numeric ({error})", code="CELLS_NO_NUMBER"
        ) from error
    problems = (
        (~np.isfinite(values), "CELL_NOT_FINITE", "must be finite"),
        (values < 0.0, "CELL_NEGATIVE", "must not be negative"),
    )
    for wrong, code, rule in problems:
        if wrong.any():
            row, column = (int(place[0]) for place in np.nonzero(wrong))
            found = f"has {columns[column]} = {values[row, column]:g}; probabilities {rule}"
            _refuse(code, what, table, wrong.any(axis=1), found)
    sums = values.sum(axis=1)
    off = np.abs(sums - 1.0) > SUM_TOLERANCE + _ROUNDING
    if off.any():
        found = f"sums to {sums[off][0]:.6f}; its three probabilities must sum to 1"
        _refuse("CELL_SUM", what, table, off, f"{found} within {SUM_TOLERANCE:g}")
    return values / sums[:, None]


def match(
    region: Region, labels: pd.DataFrame, *tables: pd.DataFrame
) -> tuple[LabelledCells, list[np.ndarray]]:
    """Join labels with one or more prediction tables by key, never by position.

    ``labels`` has study, condition, level, side, grade (0, 1, 2 or missing; nullable Int64
    or float with NaN); each of ``tables`` has the same key and the region's
    probability columns. Returns the labelled cells and, for each table, their probabilities (n, 3)
    float64 in the cells' order. Cells without a grade are left out; predictions for them
    are checked and then ignored.

    Raises SpinegradeError, with the row named, for missing columns or keys, unknown
    conditions or grades, duplicated rows, labelled cells without a prediction and
    probabilities that ``checked_probabilities`` refuses.
    """
    _check_columns(labels, [*KEY, "grade"], "labels")
    grade = _checked_grades(labels)
    whats = ["labels", *(["probabilities"] * len(tables))]
    values = [checked_probabilities(table, region) for table in tables]
    for what, table in zip(whats, (labels, *tables), strict=True):
        for column in KEY:
            _refuse(
                "CELL_WITHOUT_KEY", what, table, table[column].isna().to_numpy(), f"has no {column}"
            )
    condition = pd.Index(region.conditions).get_indexer(labels["condition"])
    _refuse(
        "CELL_CONDITION_UNKNOWN",
        "labels",
        labels,
        condition < 0,
        f"has an unknown condition; allowed: {region.conditions}",
    )
    codes = _key_codes([labels, *tables])
    for what, table, code in zip(whats, (labels, *tables), codes, strict=True):
        repeated = pd.Index(code).duplicated()
        _refuse(
            "CELL_TWICE", what, table, repeated, "repeats an earlier row; each cell may appear once"
        )
    labelled = ~np.isnan(grade)
    matched = []
    for code, value in zip(codes[1:], values, strict=True):
        place = pd.Index(code).get_indexer(codes[0])
        _refuse(
            "CELL_WITHOUT_PREDICTION",
            "probabilities",
            labels,
            labelled & (place < 0),
            "of the labels has no prediction; every labelled cell needs one",
        )
        matched.append(value[place[labelled]])
    # Sorted, so that a bootstrap draws the same studies whatever the order of the rows.
    study, studies = pd.factorize(labels["study"].astype("str")[labelled], sort=True)
    cells = LabelledCells(
        region,
        np.asarray(studies, dtype=object),
        study.astype(np.int64),
        condition[labelled].astype(np.int64),
        labels["level"].to_numpy(dtype=object)[labelled],
        labels["side"].to_numpy(dtype=object)[labelled],
        grade[labelled].astype(np.int64),
    )
    return cells, matched
