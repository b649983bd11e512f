from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from spinegrade.kaggle_rsna2024 import CELL_BY_COLUMN, KAGGLE_GRADES
from spinegrade.metrics.cells import match
from spinegrade.metrics.rsna2024 import score
from spinegrade.metrics.score import score_cells
from spinegrade.regions.lumbar_mri import (
    CONDITIONS,
    FORAMINAL,
    GRADE_WEIGHTS,
    LUMBAR_MRI,
    SPINAL,
    SUBARTICULAR,
)
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS

# Two studies, hand-sized. (study, condition, level, side, grade, p0, p1, p2)
ROWS = [
    ("a", SPINAL, "l1_l2", "central", 0, 0.8, 0.1, 0.1),
    ("a", SPINAL, "l2_l3", "central", 2, 0.2, 0.2, 0.6),
    ("b", SPINAL, "l1_l2", "central", 1, 0.5, 0.3, 0.2),
    ("b", SPINAL, "l2_l3", "central", None, 0.0, 0.1, 0.9),
    ("a", FORAMINAL, "l1_l2", "left", 0, 0.5, 0.25, 0.25),
    ("b", FORAMINAL, "l1_l2", "right", 1, 0.25, 0.5, 0.25),
    ("b", SUBARTICULAR, "l1_l2", "left", 2, 0.1, 0.1, 0.8),
]
KEY = ["study", "condition", "level", "side"]


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    whole = pd.DataFrame(ROWS, columns=[*KEY, "grade", *PROBABILITY_COLUMNS])
    labels = whole[[*KEY, "grade"]].astype({"grade": "Int64"})
    return labels, whole[[*KEY, *PROBABILITY_COLUMNS]]


def test_score_by_hand() -> None:
    found = score(*tables())
    # Canal: weights 1, 4, 2 on 0.8, 0.6, 0.3; the missing cell of b is left out.
    spinal = -(math.log(0.8) + 4 * math.log(0.6) + 2 * math.log(0.3)) / 7
    # Any severe: a is severe (weight 4, severest 0.6); b is not (weight 2, severest
    # 0.2: its 0.9 has no label).
    any_severe = -(4 * math.log(0.6) + 2 * math.log(0.8)) / 6
    assert found.spinal == pytest.approx(spinal, abs=1e-14)
    assert found.foraminal == pytest.approx(-math.log(0.5), abs=1e-14)
    assert found.subarticular == pytest.approx(-math.log(0.8), abs=1e-14)
    assert found.any_severe == pytest.approx(any_severe, abs=1e-14)
    assert found.total == pytest.approx(
        (spinal - math.log(0.5) - math.log(0.8) + any_severe) / 4, abs=1e-14
    )


def test_order_and_type_of_grade_do_not_matter() -> None:
    labels, probabilities = tables()
    expected = score(labels, probabilities)
    shuffled = probabilities.iloc[[3, 6, 0, 5, 2, 1, 4]]
    as_float = labels.astype({"grade": "float64"})
    as_object = labels.astype({"grade": "object"})
    for variant in (labels, as_float, as_object, labels.iloc[::-1]):
        assert score(variant, shuffled).total == pytest.approx(expected.total, abs=1e-14)


def test_study_without_labelled_canal_adds_nothing_to_any_severe() -> None:
    labels, probabilities = tables()
    labels.loc[2, "grade"] = pd.NA
    assert score(labels, probabilities).any_severe == pytest.approx(-math.log(0.6))


def test_certain_and_wrong_is_clipped_not_infinite() -> None:
    labels, probabilities = tables()
    probabilities.loc[6, list(PROBABILITY_COLUMNS)] = [1.0, 0.0, 0.0]
    expected = -math.log(np.finfo(np.float64).eps)
    assert score(labels, probabilities).subarticular == pytest.approx(expected)


def test_sum_within_tolerance_is_divided_out() -> None:
    labels, probabilities = tables()
    probabilities[list(PROBABILITY_COLUMNS)] = 0.333  # sums to 0.999
    found = score(labels, probabilities)
    assert found.foraminal == pytest.approx(math.log(3), abs=1e-12)


@pytest.mark.parametrize(
    ("values", "code", "value"),
    [
        ([-0.1, 0.6, 0.5], "CELL_NEGATIVE", "p_normal_mild = -0.1"),
        ([np.nan, 0.5, 0.5], "CELL_NOT_FINITE", "nan"),
        ([np.inf, 0.0, 0.0], "CELL_NOT_FINITE", "inf"),
        ([0.5, 0.3, 0.2011], "CELL_SUM", "1.001100"),
    ],
)
def test_bad_probabilities_name_the_row(values: list[float], code: str, value: str) -> None:
    labels, probabilities = tables()
    probabilities.loc[5, list(PROBABILITY_COLUMNS)] = values
    with refused(code, "row 5", "study=b", "side=right", value):
        score(labels, probabilities)


def test_bad_rows_are_refused_by_name() -> None:
    labels, probabilities = tables()
    with refused("CELL_WITHOUT_PREDICTION", "row 4", "study=a"):
        score(labels, probabilities.drop(index=4))
    doubled = pd.concat([probabilities, probabilities.iloc[[1]]])
    with refused("CELL_TWICE", "probabilities: row 7", "l2_l3"):
        score(labels, doubled)
    with refused("CELL_TWICE", "labels: row 7"):
        score(pd.concat([labels, labels.iloc[[1]]]), probabilities)
    with refused("CELL_GRADE_UNKNOWN", "labels: row 0", -1):
        score(labels.assign(grade=[-1, 0, 0, 0, 0, 0, 0]), probabilities)
    with refused("CELL_CONDITION_UNKNOWN", "condition=spinal"):
        score(labels.replace({"condition": {SPINAL: "spinal"}}), probabilities)
    with refused("CELLS_COLUMNS", "p_severe"):
        score(labels, probabilities.drop(columns="p_severe"))
    with refused("CELL_WITHOUT_KEY", "row 1", "study"):
        score(labels, probabilities.assign(study=["a", None, *"bbabb"]))
    with refused("SCORE_WITHOUT_LABELS", "'subarticular'"):
        score(labels[labels.condition != SUBARTICULAR], probabilities)


def test_missing_cell_needs_no_prediction() -> None:
    labels, probabilities = tables()
    assert score(labels, probabilities.drop(index=3)) == score(labels, probabilities)


def real_labels(real_data) -> pd.DataFrame:
    wide = pd.read_csv(real_data / "rsna2024" / "train.csv.gz", dtype={"study_id": "str"})
    long = wide.melt(id_vars="study_id", var_name="column", value_name="grade")
    cells = pd.DataFrame([CELL_BY_COLUMN[c] for c in long["column"]])
    return cells.assign(study=long["study_id"], grade=long["grade"].map(KAGGLE_GRADES))


def weighted_constants(labels: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    counts = labels.groupby([*by, "grade"]).size().unstack("grade") * np.array(GRADE_WEIGHTS)
    shares = counts.div(counts.sum(axis=1), axis=0)
    shares.columns = list(PROBABILITY_COLUMNS)
    return labels[KEY].join(shares, on=by)


@pytest.mark.real_data
def test_reference_scores_on_the_real_labels(real_data) -> None:
    labels = real_labels(real_data)
    assert int(labels["grade"].notna().sum()) == 48803
    uniform = labels[KEY].assign(**dict.fromkeys(PROBABILITY_COLUMNS, 1 / 3))
    cells, (values,) = match(LUMBAR_MRI, labels, uniform)
    assert score_cells(cells, values).total == pytest.approx(0.99941, abs=5e-6)
    assert score(labels, uniform).any_severe == pytest.approx(0.7018, abs=5e-5)
    constants = score(labels, weighted_constants(labels, ["condition"]))
    assert constants.total == pytest.approx(0.911, abs=1e-3)
    by_level = score(labels, weighted_constants(labels, ["condition", "level"]))
    assert by_level.total == pytest.approx(0.79, abs=5e-3)
    assert [len(CONDITIONS), len(cells.studies)] == [3, 1975]


def test_each_condition_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import log_loss

    rng = np.random.default_rng(3)
    whole = pd.DataFrame(
        [(str(study), *cell) for study in range(30) for cell in CELL_BY_COLUMN.values()],
        columns=KEY,
    )
    whole["grade"] = pd.array(rng.integers(0, 3, len(whole)), dtype="Int64")
    whole[list(PROBABILITY_COLUMNS)] = rng.dirichlet([1, 1, 1], len(whole))
    found = score(whole[[*KEY, "grade"]], whole[[*KEY, *PROBABILITY_COLUMNS]])
    for condition, value in zip(
        CONDITIONS, (found.spinal, found.foraminal, found.subarticular), strict=True
    ):
        part = whole[whole["condition"] == condition]
        grade = part["grade"].to_numpy(dtype="int64")
        expected = log_loss(
            grade,
            part[list(PROBABILITY_COLUMNS)].to_numpy(),
            sample_weight=np.asarray(GRADE_WEIGHTS)[grade],
            labels=[0, 1, 2],
        )
        assert value == pytest.approx(expected, abs=1e-12)
