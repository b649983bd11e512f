from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from spinegrade.metrics.bootstrap import bootstrap_score, compare
from spinegrade.metrics.cells import LabelledCells, match
from spinegrade.metrics.reliability import (
    calibration_curve,
    calibration_error,
    confusion,
    level_table,
    study_losses,
)
from spinegrade.metrics.score import cell_sums, score_cells
from spinegrade.regions.lumbar_mri import CONDITIONS, LUMBAR_CELLS, LUMBAR_MRI, SPINAL
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS


def cohort(studies: int, seed: int = 0) -> tuple[LabelledCells, np.ndarray]:
    """All 25 cells of each study with random grades, and predictions that know something."""
    random = np.random.default_rng(seed)
    count = 25 * studies
    grade = random.choice(3, p=(0.7, 0.2, 0.1), size=count)
    signal = random.gamma(1.0, size=(count, 3)) + 1.5 * np.eye(3)[grade]
    cells = LabelledCells(
        LUMBAR_MRI,
        np.array([f"s{n}" for n in range(studies)], dtype=object),
        np.repeat(np.arange(studies), 25),
        np.tile([0] * 5 + [1] * 10 + [2] * 10, studies),
        np.tile(np.array([cell.level for cell in LUMBAR_CELLS], dtype=object), studies),
        np.tile(np.array([cell.side for cell in LUMBAR_CELLS], dtype=object), studies),
        grade,
    )
    return cells, signal / signal.sum(axis=1, keepdims=True)


def test_a_resample_of_sums_is_the_score_of_the_repeated_studies() -> None:
    cells, values = cohort(7)
    sums = cell_sums(cells, values)
    counts = np.array([2, 0, 1, 3, 0, 1, 0])
    chosen = np.repeat(np.arange(7), counts)
    rows = np.concatenate([np.flatnonzero(cells.study == study) for study in chosen])
    repeated = LabelledCells(
        LUMBAR_MRI,
        np.arange(7),
        np.repeat(np.arange(7), 25),
        cells.condition[rows],
        cells.level[rows],
        cells.side[rows],
        cells.grade[rows],
    )
    expected = score_cells(repeated, values[rows])
    parts = (counts @ sums.loss) / (counts @ sums.weight)
    assert parts.mean() == pytest.approx(expected.total, abs=1e-12)
    assert parts[3] == pytest.approx(expected.any_severe, abs=1e-12)


def test_bootstrap_is_seeded_and_surrounds_the_score() -> None:
    cells, values = cohort(40)
    first = bootstrap_score(cells, values, resamples=300, seed=5)
    assert first == bootstrap_score(cells, values, resamples=300, seed=5)
    assert first != bootstrap_score(cells, values, resamples=300, seed=6)
    total = first["total"]
    assert total.value == score_cells(cells, values).total
    assert total.low < total.value < total.high


def test_interval_agrees_with_the_spread_of_the_mean() -> None:
    # With every study weighing the same, a part is a plain mean over studies, whose
    # bootstrap spread is known: sd / sqrt(n).
    cells, values = cohort(400)
    cells = LabelledCells(**{**vars(cells), "grade": np.zeros(len(cells), dtype=np.int64)})
    sums = cell_sums(cells, values)
    mean_loss = sums.loss[:, 1] / sums.weight[:, 1]
    interval = bootstrap_score(cells, values, resamples=4000, seed=1)["foraminal"]
    expected = 2 * 1.96 * mean_loss.std() / np.sqrt(400)
    assert interval.high - interval.low == pytest.approx(expected, rel=0.06)


def test_paired_comparison_is_tighter_than_the_scores() -> None:
    cells, values = cohort(40)
    worse = 0.9 * values + 0.1 / 3
    found = compare(cells, worse, values, resamples=400, seed=2)
    alone = bootstrap_score(cells, values, resamples=400, seed=2)["total"]
    assert found.ratio.value == found.first / found.second
    assert found.difference.value == found.first - found.second
    assert found.difference.high - found.difference.low < 0.5 * (alone.high - alone.low)
    same = compare(cells, values, values, resamples=50, seed=2)
    assert (same.ratio.low, same.ratio.high, same.difference.high) == (1.0, 1.0, 0.0)


def test_too_few_labels_are_refused() -> None:
    cells, values = cohort(3)
    canal_only_in_none = cells.part(cells.condition != 0)
    with refused("SCORE_WITHOUT_LABELS", "'spinal'"):
        bootstrap_score(canal_only_in_none, values[cells.condition != 0], 10)


def test_calibration_curve_by_hand() -> None:
    cells, _ = cohort(1)
    cells = cells.part(np.arange(25) < 4)
    cells = LabelledCells(**{**vars(cells), "grade": np.array([0, 2, 0, 0])})
    severe = np.array([0.05, 0.92, 0.97, 0.01])
    values = np.stack([1 - severe, np.zeros(4), severe], axis=1)
    plain = calibration_curve(cells, values, 2, SPINAL, weighted=False)
    assert plain["count"].tolist() == [2, 2]
    assert plain["predicted"].tolist() == pytest.approx([0.03, 0.945])
    assert plain["observed"].tolist() == [0.0, 0.5]
    weighted = calibration_curve(cells, values, 2, SPINAL)
    assert weighted["observed"].tolist() == [0.0, 0.8]
    assert weighted["predicted"].tolist() == pytest.approx([0.03, (4 * 0.92 + 0.97) / 5])
    assert calibration_error(plain) == pytest.approx((0.03 + 0.445) / 2)
    edge = calibration_curve(cells, np.tile([0.0, 0.0, 1.0], (4, 1)), 2)
    assert edge["count"].tolist() == [4]


def test_confusion_levels_and_studies() -> None:
    cells, values = cohort(6)
    counts = confusion(cells, values)
    assert counts.to_numpy().sum() == 150
    assert counts.sum(axis=1).tolist() == np.bincount(cells.grade, minlength=3).tolist()
    # 0.3, 0.3, 0.4 is a plain 0.3 : 0.15 : 0.1, so normal is the likeliest.
    flat = confusion(cells, np.tile([0.3, 0.3, 0.4], (150, 1)))
    assert flat["normal_mild"].sum() == 150
    table = level_table(cells, values).set_index(["condition", "level"])
    assert len(table) == 18
    found = score_cells(cells, values)
    assert table.loc[(SPINAL, "all"), "log_loss"] == pytest.approx(found.spinal)
    assert table.loc[(SPINAL, "l1_l2"), "count"] == 6
    worst = study_losses(cells, values)
    assert worst.is_monotonic_decreasing and set(worst.index) == set(cells.studies)


def test_bootstrap_is_the_same_whatever_the_order_of_the_rows() -> None:
    cells, values = cohort(9)
    labels = pd.DataFrame(
        {
            "study": cells.studies[cells.study],
            "condition": np.array(CONDITIONS)[cells.condition],
            "level": cells.level,
            "side": cells.side,
            "grade": cells.grade,
        }
    )
    table = labels.drop(columns="grade")
    table[list(PROBABILITY_COLUMNS)] = values
    found = []
    for order in (labels, labels.iloc[::-1]):
        matched, (probabilities,) = match(LUMBAR_MRI, order, table)
        found.append(bootstrap_score(matched, probabilities, 50, 3)["total"].high)
    assert found[0] == pytest.approx(found[1], abs=1e-12)
