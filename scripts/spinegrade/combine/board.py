"""All members' probabilities on one board: every cell of every study, nothing missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from spinegrade.combine.prior import PRIOR
from spinegrade.errors import SpinegradeError
from spinegrade.metrics.cells import KEY, checked_probabilities, name_row
from spinegrade.regions.region import Region

NO_FOLD = -1


@dataclass(frozen=True)
class Board:
    """Studies times the region's cells, n rows: studies sorted by id, cells in its order.

    ``table``: study, condition, level, side. ``fold`` (n,) int64, ``NO_FOLD`` for studies in
    no fold; ``grade`` (n,) int64, -1 where unlabelled; ``condition`` (n,) codes into
    the region's conditions; ``study`` (n,) int64 codes. ``values`` (members, n, 3) float64;
    ``filled`` (members, n) bool: the prior stands in; ``served`` (members, conditions) bool: the
    member grades that condition at all. The prior is always member 0.
    """

    region: Region
    table: pd.DataFrame
    study: np.ndarray
    condition: np.ndarray
    fold: np.ndarray
    grade: np.ndarray
    members: tuple[str, ...]
    values: np.ndarray
    filled: np.ndarray
    served: np.ndarray

    @property
    def spoken(self) -> np.ndarray:
        """(members, n) bool: the number is the member's own; never so for the prior."""
        spoken = ~self.filled
        spoken[0] = False
        return spoken

    @property
    def seen(self) -> np.ndarray:
        """(n,) bool: some member has the cell, so that it is not the prior alone."""
        return self.spoken.any(axis=0)

    def predictions(self, probabilities: np.ndarray, name: str) -> pd.DataFrame:
        """A predictions table of ``probabilities`` (n, 3) under the grader ``name``."""
        table = self.table.copy()
        table[list(self.region.probability_columns)] = probabilities
        fold = pd.array(self.fold, dtype="Int64")
        fold[self.fold == NO_FOLD] = pd.NA
        return table.assign(classifier=name, fold=fold)


def _places(table: pd.DataFrame, studies: pd.Index, region: Region, what: str) -> np.ndarray:
    """Row of the board of each row of ``table``; refuses strangers and repeated rows."""
    study = studies.get_indexer(table["study"])
    known = pd.MultiIndex.from_tuples([tuple(cell) for cell in region.cells])
    cell = known.get_indexer(pd.MultiIndex.from_frame(table[KEY[1:]]))
    place = study * len(region.cells) + cell
    problems = (
        (
            study < 0,
            "PREDICTION_STUDY_UNKNOWN",
            "its study is not in the studies table; rerun the rule that made this table",
        ),
        (cell < 0, "PREDICTION_CELL_UNKNOWN", f"there is no such cell in the {region.spine} spine"),
        (
            pd.Index(place).duplicated(),
            "PREDICTION_TWICE",
            "repeats an earlier row; each cell may appear once",
        ),
    )
    for wrong, code, problem in problems:
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise SpinegradeError(f"{what}: {name_row(table, row)}: {problem}", code=code)
    return place


def _check_folds(table: pd.DataFrame, expected: np.ndarray, what: str) -> None:
    """Each row's fold must be the study's own: models of another fold have seen its labels."""
    fold = table["fold"].to_numpy(dtype="float64", na_value=NO_FOLD)
    wrong = fold != expected
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise SpinegradeError(
            f"{what}: {name_row(table, row)} was predicted for fold {fold[row]:g} but its study "
            f"is in fold {expected[row]} ({NO_FOLD}: none); such a prediction may have been "
            "trained on the study: rerun the grader with the present folds",
            code="PREDICTION_OF_ANOTHER_FOLD",
        )


def gather(
    labels: pd.DataFrame,
    fold_of: pd.Series,
    prior: pd.DataFrame,
    classifiers: dict[str, pd.DataFrame],
    region: Region,
) -> Board:
    """Put the labels, the prior and every grader's predictions on a board.

    ``fold_of``: Int64 fold by study id for every study, null for those in no fold;
    ``prior``: predictions that cover every cell; ``classifiers``: out-of-fold and new
    predictions together, by name. Cells that a grader did not predict are filled with
    the prior and marked in ``filled``; a condition that it never predicts is not served.

    Raises SpinegradeError, with the row named, for unknown studies or cells, repeated rows,
    probabilities that are none, and predictions made for another fold than the study's.
    """
    studies = pd.Index(sorted(fold_of.index), dtype="str")
    cells = pd.DataFrame(region.cells)
    count = len(studies) * len(cells)
    table = pd.concat([cells] * len(studies), ignore_index=True)
    table.insert(0, "study", np.repeat(studies.to_numpy(), len(cells)))
    fold = fold_of.reindex(studies).to_numpy(dtype="float64", na_value=NO_FOLD).astype(np.int64)
    fold = np.repeat(fold, len(cells))
    grade = np.full(count, -1, dtype=np.int64)
    grade[_places(labels, studies, region, "labels")] = labels["grade"].to_numpy(
        "float64", na_value=-1.0
    )
    condition = pd.Index(region.conditions).get_indexer(table["condition"]).astype(np.int64)
    members = (PRIOR, *classifiers)
    values = np.full((len(members), count, 3), np.nan)
    for row, name, member in zip(values, members, (prior, *classifiers.values()), strict=True):
        what = name if name == PRIOR else f"grader {name}"
        place = _places(member, studies, region, what)
        _check_folds(member, fold[place], what)
        row[place] = checked_probabilities(member, region, what)
    filled = np.isnan(values[:, :, 0])
    if filled[0].any():
        row = int(np.flatnonzero(filled[0])[0])
        raise SpinegradeError(
            f"prior: no prediction for {name_row(table, row)}", code="PRIOR_INCOMPLETE"
        )
    values = np.where(filled[:, :, None], values[:1], values)
    codes = range(len(region.conditions))
    served = np.stack([(~filled[:, condition == code]).any(axis=1) for code in codes], axis=1)
    study = np.repeat(np.arange(len(studies)), len(cells))
    return Board(region, table, study, condition, fold, grade, members, values, filled, served)


def count_filled(board: Board) -> dict[str, dict[str, int]]:
    """How many cells of each grader and served condition the prior stands in for."""
    return {
        name: {
            condition: int(board.filled[row, board.condition == code].sum())
            for code, condition in enumerate(board.region.conditions)
            if board.served[row, code]
        }
        for row, name in enumerate(board.members)
        if row > 0
    }
