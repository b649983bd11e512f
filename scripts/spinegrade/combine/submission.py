"""submission.csv: the test studies' probabilities as the competition takes them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.regions.region import Cell, Region, row_id
from spinegrade.runtime.files import write_text
from spinegrade.tables.files import read_table
from spinegrade.tables.probabilities import PROBABILITIES
from spinegrade.tables.studies import STUDIES

_LOGGER = logging.getLogger("spinegrade")
DECIMALS = 6
_UNITS = 10**DECIMALS


def rounded_units(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities (n, 3) as whole millionths (n, 3) int64 that sum to exactly a million.

    Largest remainder: each is rounded down, and the units still missing go to the largest
    fractions, to the earlier column on a tie.
    """
    scaled = probabilities / probabilities.sum(axis=1, keepdims=True) * _UNITS
    units = np.floor(scaled).astype(np.int64)
    short = _UNITS - units.sum(axis=1)
    order = np.argsort(-(scaled - units), axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    return units + (rank < short[:, None])


def _wanted_rows(sample: str | Path | None, known: list[str], cells: int) -> list[str]:
    """Row ids in the order of the sample submission, else as given; both must agree."""
    if sample is None or not Path(sample).exists():
        return known
    table = pd.read_csv(sample, dtype="str")
    if "row_id" not in table.columns:
        raise SpinegradeError(
            f"{sample}: no column row_id; found {list(table.columns)}", code="SUBMISSION_COLUMN"
        )
    wanted = list(table["row_id"])
    repeated = table["row_id"][table["row_id"].duplicated()]
    if len(repeated):
        raise SpinegradeError(
            f"{sample}: row {repeated.index[0]} repeats {repeated.iloc[0]!r}",
            code="SUBMISSION_ROW_TWICE",
        )
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise SpinegradeError(
            f"{sample}: {len(unknown)} row ids that belong to no test study and cell, the first "
            f"{unknown[0]!r}; expected <study>_<cell> with a study of test_series_descriptions.csv",
            code="SUBMISSION_ROW_UNKNOWN",
        )
    missing = sorted(set(known) - set(wanted))
    if missing:
        raise SpinegradeError(
            f"{sample}: lacks {len(missing)} rows of the test studies, the first {missing[0]!r}; "
            f"it must hold {cells} rows for each",
            code="SUBMISSION_ROW_MISSING",
        )
    return wanted


def write_submission(
    probabilities: str | Path,
    studies: str | Path,
    sample: str | Path | None,
    submission: str | Path,
    region: Region,
) -> None:
    """Write row_id and the region's grades for every cell of every test study.

    ``sample``: sample_submission.csv, whose row order is kept; None or an absent file means
    studies in the order of their ids, cells in the region's order. Values
    have six decimals and sum to exactly one. Raises SpinegradeError for a sample with
    unknown, repeated or missing rows and for a test study without probabilities.
    """
    table = read_table(studies, STUDIES)
    tested = sorted(table.loc[table["split"] == "test", "study"])
    known = [row_id(study, cell) for study in tested for cell in region.cells]
    wanted = _wanted_rows(sample, known, len(region.cells))
    predictions = read_table(probabilities, PROBABILITIES)
    predictions = predictions[predictions["study"].isin(tested)]
    rows = [
        row_id(study, Cell(condition, level, side))
        for study, condition, level, side in predictions[
            ["study", "condition", "level", "side"]
        ].itertuples(index=False)
    ]
    values = predictions[list(region.probability_columns)].to_numpy(dtype=np.float64)
    units = dict(zip(rows, rounded_units(values).tolist(), strict=True))
    absent = [row for row in wanted if row not in units]
    if absent:
        raise SpinegradeError(
            f"{probabilities}: no probabilities for {len(absent)} rows of the submission, the "
            f"first {absent[0]!r}; rerun fit_ensemble",
            code="SUBMISSION_CELL_MISSING",
        )
    alone = int((predictions["source"] == "prior").sum())
    if alone:
        _LOGGER.warning(
            "%d of %d rows hold the prior alone, nothing of the study's images: "
            "probabilities.parquet and filled.csv name them",
            *(alone, len(wanted)),
        )
    lines = [",".join(("row_id", *region.grade_names))]
    for row in wanted:
        decimals = (f"{n // _UNITS}.{n % _UNITS:0{DECIMALS}d}" for n in units[row])
        lines.append(",".join((row, *decimals)))
    write_text(submission, "\n".join(lines) + "\n")
