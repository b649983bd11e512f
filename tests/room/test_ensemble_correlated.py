"""Fitted weights against the plain mean, on members like real ones: alike, unequal in skill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from spinegrade.combine.blend import BLENDS
from spinegrade.combine.board import Board, gather
from spinegrade.combine.combine import fit_combinations
from spinegrade.combine.prior import cross_fitted_prior
from spinegrade.combine.scores import score_report
from spinegrade.combine.settings import FitSettings
from spinegrade.kaggle_rsna2024 import CELL_BY_COLUMN, KAGGLE_GRADES
from spinegrade.regions.lumbar_mri import CONDITIONS, FORAMINAL, LUMBAR_CELLS, LUMBAR_MRI, SPINAL
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    # As in a job: more threads than free cores make small sums many times as slow.
    with threadpool_limits(1):
        yield


SHARES = {CONDITIONS[0]: (0.87, 0.07, 0.06), FORAMINAL: (0.77, 0.19, 0.04)}
SHARES[CONDITIONS[2]] = (0.7, 0.2, 0.1)
# By member: skill in the canal, in the foramina and in the recesses (gap between true and other
# grades in standard deviations of the noise) and the power that its posterior is raised to.
MEMBERS = {
    "canal": (1.75, 1.5, 1.45, 1.0),
    "canal_twin": (1.75, 1.5, 1.45, 1.1),
    "foramen": (1.55, 1.75, 1.45, 1.0),
    "recess": (1.5, 1.5, 1.7, 1.2),
    "sure": (1.65, 1.6, 1.6, 1.5),
    "timid": (1.7, 1.65, 1.6, 0.7),
    "weak": (1.5, 1.45, 1.4, 1.0),
}
SHARED = 0.8  # of the noise's variance: members err on the same cells


def made_up_labels(studies: int) -> pd.DataFrame:
    random = np.random.default_rng(11)
    cells = pd.DataFrame(LUMBAR_CELLS)
    labels = pd.concat([cells.assign(study=f"{n:04d}") for n in range(studies)], ignore_index=True)
    grade = np.array([random.choice(3, p=SHARES[condition]) for condition in labels["condition"]])
    return labels.assign(grade=pd.array(grade, "Int64"))


def real_labels(file: Path) -> pd.DataFrame:
    wide = pd.read_csv(file, dtype={"study_id": "str"})
    long = wide.melt(id_vars="study_id", var_name="column", value_name="grade")
    cells = pd.DataFrame([CELL_BY_COLUMN[column] for column in long["column"]])
    grade = long["grade"].map(KAGGLE_GRADES).astype("Int64")
    return cells.assign(study=long["study_id"], grade=grade)


def board_of(labels: pd.DataFrame, folds: int = 5) -> Board:
    """Seven members that saw the grades of ``labels`` through noise."""
    random = np.random.default_rng(12)
    studies = sorted(labels["study"].unique())
    fold = pd.Series(pd.array(random.permutation(len(studies)) % folds, "Int64"), studies)
    truth = np.eye(3)[labels["grade"].fillna(0).to_numpy("int64")]
    start = np.log(np.array([SHARES[name] for name in labels["condition"]]) * (1, 2, 4))
    code = pd.Index(CONDITIONS).get_indexer(labels["condition"])
    shared = np.sqrt(SHARED) * random.standard_normal(truth.shape)
    key = labels.drop(columns="grade").assign(fold=fold.reindex(labels["study"]).array)
    tables = {}
    for name, (*skills, heat) in MEMBERS.items():
        skill = np.array(skills)[code][:, None]
        noise = shared + np.sqrt(1 - SHARED) * random.standard_normal(truth.shape)
        chance = np.exp(heat * (start + skill * (skill * truth + noise)))
        table = key.assign(classifier=name)
        table[list(PROBABILITY_COLUMNS)] = chance / chance.sum(axis=1, keepdims=True)
        tables[name] = table
    return gather(labels, fold, cross_fitted_prior(labels, fold, LUMBAR_MRI)[0], tables, LUMBAR_MRI)


@pytest.fixture(scope="module")
def made_up() -> Board:
    return board_of(made_up_labels(400))


@pytest.fixture(scope="module")
def real(real_data: Path) -> Board:
    labels = real_labels(real_data / "rsna2024" / "train.csv.gz")
    assert labels["study"].nunique() == 1975
    return board_of(labels)


def check(board: Board, blend: str) -> None:
    _, cross_fitted, in_sample = fit_combinations(board, FitSettings(blend=blend))
    report = score_report(board, cross_fitted, in_sample, None, 500, 0, {"blend": blend})
    alone = [part["total"] for part in report["classifiers"].values()]
    assert all(0.40 <= total <= 0.55 for total in alone), alone
    difference = report["difference_to_equal_weights"]
    assert difference["low"] < difference["value"] < difference["high"] < 0
    assert report["ensemble"]["total"] < min(alone)
    # Honest: what is scored is worse than what was fitted, and not by much on so many cells.
    assert report["ensemble_in_sample"]["total"] < report["ensemble"]["total"]
    for part in (SPINAL.split("_")[0], "foraminal", "subarticular", "any_severe"):
        assert report["ensemble"][part] < report["prior"][part]


@pytest.mark.parametrize("blend", BLENDS)
def test_fitted_weights_beat_the_plain_mean(made_up: Board, blend: str) -> None:
    check(made_up, blend)


@pytest.mark.real_data
@pytest.mark.parametrize("blend", BLENDS)
def test_fitted_weights_beat_the_plain_mean_on_real_labels(real: Board, blend: str) -> None:
    check(real, blend)
