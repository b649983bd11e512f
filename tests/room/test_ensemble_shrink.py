"""How much of a fit counts: answers by hand, many studies, few studies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from spinegrade.combine.blend import BLENDS, calibrate, mix
from spinegrade.combine.board import Board, gather
from spinegrade.combine.combine import fit_combinations
from spinegrade.combine.objective import Objective, Problem
from spinegrade.combine.prior import cross_fitted_prior
from spinegrade.combine.scores import equal_mix, labelled_cells, score_report
from spinegrade.combine.settings import FitSettings
from spinegrade.combine.shrink import (
    STRENGTHS,
    along_calibration,
    along_weights,
    calibration_strengths,
    common_strength,
    inner_parts,
    is_clear,
    shrunk,
)
from spinegrade.combine.weights import weights_dict
from spinegrade.metrics.score import score_cells
from spinegrade.regions.lumbar_mri import CONDITIONS, GRADE_WEIGHTS, LUMBAR_CELLS, LUMBAR_MRI
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    # As in a job: more threads than free cores make small sums many times as slow.
    with threadpool_limits(1):
        yield


SHARES = np.array([0.6, 0.25, 0.15])
ORACLE = np.log(SHARES * (1, 2, 4))
FITTED = FitSettings(shrinkage="never")


def board_of(
    studies: int, folds: int, seed: int, skills: tuple[float, ...], shared: float = 0.5
) -> Board:
    """Members that see the grades through noise of which ``shared`` of the variance is common.

    A skill is the gap between the true and the other grades in standard deviations; each
    member's posterior is the right one for what it saw, so there is nothing to calibrate.
    """
    random = np.random.default_rng(seed)
    names = [f"s{n:04d}" for n in range(studies)]
    fold = pd.Series(pd.array([n % folds for n in range(studies)], "Int64"), names)
    cells = pd.DataFrame(LUMBAR_CELLS)
    labels = pd.concat([cells.assign(study=name) for name in names], ignore_index=True)
    grade = random.choice(3, p=SHARES, size=len(labels))
    labels = labels.assign(grade=pd.array(grade, "Int64"))
    key = labels.drop(columns="grade").assign(fold=fold.reindex(labels["study"]).array)
    truth = np.eye(3)[grade]
    common = np.sqrt(shared) * random.standard_normal(truth.shape)
    tables = {}
    for number, skill in enumerate(skills):
        noise = common + np.sqrt(1 - shared) * random.standard_normal(truth.shape)
        chance = np.exp(ORACLE + skill * (skill * truth + noise))
        table = key.assign(classifier=f"m{number}")
        table[list(PROBABILITY_COLUMNS)] = chance / chance.sum(axis=1, keepdims=True)
        tables[f"m{number}"] = table
    return gather(labels, fold, cross_fitted_prior(labels, fold, LUMBAR_MRI)[0], tables, LUMBAR_MRI)


def total(board: Board, probabilities: np.ndarray) -> float:
    cells, mask = labelled_cells(board)
    return score_cells(cells, probabilities[mask]).total


def test_a_gain_counts_only_beyond_its_standard_error() -> None:
    # Ten studies of one cell each, grade 0: equal weights, so a study's part is -log(p) / 10.
    grade = np.zeros(10, dtype=np.int64)
    plain = np.tile([0.5, 0.25, 0.25], (10, 1))
    objective = Objective(
        Problem.of(plain[None], grade, np.arange(10), GRADE_WEIGHTS, any_severe=False)
    )

    def gains(candidate: np.ndarray) -> np.ndarray:
        return objective.study_losses(plain) - objective.study_losses(candidate)

    assert is_clear(gains(np.tile([0.6, 0.2, 0.2], (10, 1))))
    # Nine small losses against one large gain: a lead, but one that a single study makes.
    lucky = np.tile([0.48, 0.26, 0.26], (10, 1))
    lucky[0] = [0.98, 0.01, 0.01]
    assert gains(lucky).sum() > 0 and not is_clear(gains(lucky))
    assert not is_clear(np.array([1.0]))  # one study has no spread


def test_weights_go_from_the_plain_mean_to_the_fit() -> None:
    fitted = np.array([0.4, 0.6, 0.0, 0.0])
    everyone = np.array([True, True, True, False])
    not_prior = np.array([False, True, True, True])
    assert shrunk(fitted, everyone, not_prior, 0.0).tolist() == [0.0, 0.5, 0.5, 0.0]
    half = shrunk(fitted, everyone, not_prior, 0.5)
    assert half == pytest.approx([0.2, 0.55, 0.25, 0.0])
    assert np.array_equal(shrunk(fitted, everyone, not_prior, 1.0), fitted)
    # Where the prior alone serves, it is the mean.
    alone = np.array([True, False, False, False])
    assert shrunk(alone.astype(float), alone, not_prior, 0.3).tolist() == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("blend", BLENDS)
def test_the_way_is_that_of_the_weights_and_of_the_logarithms(blend: str) -> None:
    values = np.random.default_rng(0).dirichlet(np.ones(3), size=(3, 8))
    problem = Problem.of(values, np.zeros(8, int), np.arange(8), GRADE_WEIGHTS, False, blend).part(
        np.arange(8) > 2
    )
    plain, fitted = np.full(3, 1 / 3), np.array([0.1, 0.0, 0.9])
    way = along_weights(problem, plain, fitted)
    for strength, mixed in zip(STRENGTHS, way, strict=True):
        weights = (1 - strength) * plain + strength * fitted
        assert mixed == pytest.approx(mix(values[:, 3:], weights, blend))
    calibrated = along_calibration(way[0], 4.0, 0.25)
    assert np.array_equal(calibrated[0], way[0])
    assert calibrated[10] == pytest.approx(calibrate(way[0], 2.0, 0.5))
    assert calibrated[20] == pytest.approx(calibrate(way[0], 4.0, 0.25))


def way(gain: np.ndarray, curve: float) -> np.ndarray:
    """Losses (strengths, studies): at strength s a study gains ``gain`` * s - ``curve`` * s²."""
    return 1.0 - np.outer(STRENGTHS, gain) + curve * (STRENGTHS**2)[:, None]


def test_a_common_strength_by_hand() -> None:
    codes = np.arange(4)
    # All studies gain alike, so there is no doubt: four times s - s², the best at a half.
    sure = way(np.ones(4), 1.0)
    assert common_strength([(codes, sure)]) == 0.5
    # Gains of 0.6 and 1.4: a deviation of 0.4 / sqrt(3/4) and an error twice that, s * 0.92.
    # Least -4 s + 4 s² + 0.92 s is at (4 - 0.92) / 8 = 0.385; 0.4 is nearer than 0.35.
    doubtful = way(np.array([0.6, 1.4, 0.6, 1.4]), 1.0)
    assert common_strength([(codes, doubtful)]) == 0.4
    # The same lead, but from one study: the error is larger than the gain.
    lucky = way(np.array([-2.0, -2.0, -2.0, 10.0]), 1.0)
    assert common_strength([(codes, lucky)]) == 0.0
    # Two conditions: another with as sure a loss takes the gain back.
    harm = way(-np.ones(4), 1.0)
    assert common_strength([(codes, sure), (codes, harm)]) == 0.0
    # Another that only some studies have: 4 (s - s²) and 2 (3 s - s²), of parts 1, 1, 4, 4 by s.
    more = way(np.full(2, 3.0), 1.0)
    error = np.sqrt(4) * np.std([1, 1, 4, 4], ddof=1)
    best = STRENGTHS[np.argmin(-10 * STRENGTHS + 6 * STRENGTHS**2 + error * STRENGTHS)]
    # (The part s² of a study is 1 or 2; its spread is small beside that of the other.)
    assert common_strength([(codes, sure), (codes[2:], more)]) == pytest.approx(best, abs=0.1)
    assert common_strength([(codes, sure), (codes[2:], more)]) > 0.5
    nobody = (np.empty(0, int), np.empty((len(STRENGTHS), 0)))
    assert common_strength([nobody]) == common_strength([(codes[:1], sure[:, :1])]) == 0.0
    assert common_strength([nobody, (codes, sure)]) == 0.5


def test_calibration_strengths_by_hand() -> None:
    codes = np.arange(4)

    def alone(losses: np.ndarray) -> float:
        (found,) = calibration_strengths([(codes, losses)])
        return found

    # Best at the whole step, where all gain alike: nothing taken off.
    sure = way(np.full(4, 2.0), 0.5)
    assert alone(sure) == 1.0
    # Gains of 1 and 3 for the whole step: 8 in all, an error of 2 / sqrt(3/4) = 2.309.
    doubtful = way(np.array([1.0, 3.0, 1.0, 3.0]), 0.0)
    assert alone(doubtful) == pytest.approx(1 - 1.5 * (4 * 4 / 3) / 64)
    # Best at a half (2 s - 2 s² a study), but the whole step is no gain at all.
    assert alone(way(np.full(4, 2.0), 2.0)) == 0.0
    # Best at 0.8 (1.6 s - s²), and the whole step is a clear gain.
    assert alone(way(np.full(4, 1.6), 1.0)) == pytest.approx(0.8)
    # One study makes the lead.
    lucky = way(np.array([-1.0, -1.0, -1.0, 9.0]), 0.0)
    assert alone(lucky) == 0.0
    # A gain of 1.8 with an error of 1.27: clear, but little of it is left.
    barely = way(np.array([-0.1, -0.1, 1.0, 1.0]), 0.0)
    error = 2 * 0.55 / np.sqrt(3 / 4)
    assert is_clear(barely[0] - barely[-1])
    assert alone(barely) == pytest.approx(1 - 1.5 * (error / 1.8) ** 2, abs=1e-9)
    # The doubt is that of all clear gains together: 6 + 8, of studies that gain 2.5 and 4.5;
    # a condition that is not clear has no part in it.
    found = calibration_strengths([(codes, sure), (codes, lucky), (codes, doubtful)])
    factor = 1 - 1.5 * (4 * 4 / 3) / 14**2
    assert found == pytest.approx([factor, 0.0, factor])
    nobody = (np.empty(0, int), np.empty((len(STRENGTHS), 0)))
    assert calibration_strengths([nobody, nobody]) == [0.0, 0.0]


def test_parts_left_out_are_folds_or_the_studies_of_a_single_fold() -> None:
    study = np.repeat([3, 5, 8, 9, 11, 12, 20], 2)
    parts = inner_parts(np.repeat([0, 2, 0, 2, 4, 4, 4], 2), study)
    assert [sorted(set(study[part])) for part in parts] == [[3, 8], [5, 9], [11, 12, 20]]
    parts = inner_parts(np.zeros(14, int), study)
    assert [sorted(set(study[part])) for part in parts] == [[3, 12], [5, 20], [8], [9], [11]]
    assert inner_parts(np.zeros(2, int), np.array([3, 3])) == []


@pytest.mark.parametrize("blend", BLENDS)
def test_copies_on_few_studies_stay_near_the_plain_mean(blend: str) -> None:
    # Eight members that differ by noise alone, each right about its own doubt: equal weights, no
    # prior and no calibration are right, and everything that a fit finds beside them is luck.
    excess, moved = [], []
    whole = FitSettings(blend=blend, calibration="always", shrinkage="never")
    for seed in range(30, 34):
        board = board_of(40, 3, seed, (1.3,) * 8, shared=0.9)
        plain = total(board, equal_mix(board, blend))
        for settings in (FitSettings(blend=blend), whole):
            fitted, given, _ = fit_combinations(board, settings)
            parts = fitted.whole.values()
            logs = [abs(np.log([part.temperature, part.severe_factor])) for part in parts]
            weights = np.array([part.weights[-8:] for part in parts])
            excess.append(total(board, given) - plain)
            moved.append((np.mean(logs), abs(weights - 1 / 8).max()))
    (logs, apart), (logs_whole, apart_whole) = (np.array(moved)[place::2].T for place in (0, 1))
    assert apart.max() < 0.03 < 0.2 < apart_whole.min()
    assert logs.max() < 0.1 and logs.mean() < 0.4 * logs_whole.mean()
    assert max(excess[::2]) < 0.005 and np.mean(excess[::2]) < 0.002
    assert np.mean(excess[1::2]) > np.mean(excess[::2]) + 0.005


@pytest.fixture(scope="module")
def many() -> Board:
    return board_of(2000, 3, 2, (1.0, 1.6))


@pytest.mark.parametrize("blend", BLENDS)
def test_many_studies_leave_the_fit_as_it_is(many: Board, blend: str) -> None:
    fitted, given, _ = fit_combinations(many, FitSettings(blend=blend))
    before = fit_combinations(many, replace(FITTED, blend=blend))[1]
    assert total(many, given) == pytest.approx(total(many, before), abs=1e-3)
    assert total(many, given) < total(many, equal_mix(many, blend)) - 0.03
    assert all(part.weight_strength >= 0.9 for part in fitted.whole.values())


def test_strengths_are_told_and_never_means_all_of_it() -> None:
    board = board_of(24, 2, 3, (1.2, 1.5))
    settings = FitSettings(leave_one_out=True)
    fitted, cross_fitted, in_sample = fit_combinations(board, settings)
    written = weights_dict(fitted, {}, settings)
    assert written["shrinkage"] == "auto"
    report = score_report(board, cross_fitted, in_sample, None, 100, 0, written, fitted.without)
    for condition in CONDITIONS:
        part, told = fitted.whole[condition], report["strength"][condition]
        assert told == {
            "weight": pytest.approx(part.weight_strength),
            "calibration": pytest.approx(part.calibration_strength, abs=1e-8),
        }
        # One strength of the weights for all conditions, another for each fold.
        assert part.weight_strength == fitted.whole[CONDITIONS[0]].weight_strength
    assert report["equal_weights"]["total"] == pytest.approx(total(board, equal_mix(board)))
    as_fitted = fit_combinations(board, replace(FITTED, calibration="always"))[0]
    for part in (as_fitted.whole, *as_fitted.by_fold.values()):
        for found in part.values():
            assert found.weight_strength == found.calibration_strength == 1.0


def test_pruning_holds_for_weights_that_were_shrunk() -> None:
    board = board_of(36, 3, 5, (1.2, 1.4, 1.6), shared=0.6)
    fitted = fit_combinations(board, FitSettings(prune=0.3))[0]
    parts = [part for fold in (fitted.whole, *fitted.by_fold.values()) for part in fold.values()]
    assert any(part.weight_strength < 1.0 for part in parts)
    for part in parts:
        assert part.weights.sum() == pytest.approx(1.0)
        assert ((part.weights == 0.0) | (part.weights >= 0.3)).all()
        assert (part.weights[list(part.pruned)] == 0.0).all()
