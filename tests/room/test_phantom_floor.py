"""The score's floor: closed forms, a numerical optimiser, and the oracle that reads the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from spinegrade.phantom.disease import draw_narrowing
from spinegrade.phantom.floor import (
    expected_floor,
    expected_score,
    optimal_probabilities,
    realised_floor,
    score_of_labels,
)
from spinegrade.phantom.rater import draw_grades, grade_probabilities, with_mislabels
from spinegrade.phantom.statistics import load_statistics

STUDIES = 4000


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    statistics = load_statistics()
    narrowing = draw_narrowing(np.random.default_rng(11), statistics, STUDIES)
    return grade_probabilities(narrowing, statistics)


def test_cells_outside_the_canal_have_the_weighted_optimum():
    probabilities = np.full((1, 25, 3), [0.5, 0.3, 0.2])
    best = optimal_probabilities(probabilities)
    # w p = (0.5, 0.6, 0.8) over their sum 1.9.
    np.testing.assert_allclose(best[0, 5:], np.tile([5 / 19, 6 / 19, 8 / 19], (20, 1)))


def test_what_is_certain_costs_nothing():
    probabilities = np.zeros((2, 25, 3))
    probabilities[0, :, 0] = 1
    probabilities[1, :, 2] = 1
    np.testing.assert_allclose(optimal_probabilities(probabilities), probabilities, atol=1e-12)
    assert expected_floor(probabilities).total == pytest.approx(0, abs=1e-9)


def test_one_uncertain_level_is_solved_by_hand():
    # L1/L2 normal or severe at one half each, the other canal levels surely normal. Over the
    # cohort (this study alone) the expected canal weight is 2 + 1/2 + 4 = 6.5, the any-severe
    # weight 2 + 1/2 = 2.5. Both terms want the same share of severe, 4 : 1.
    probabilities = np.zeros((1, 25, 3))
    probabilities[..., 0] = 1
    probabilities[0, 0] = [0.5, 0.0, 0.5]
    best = optimal_probabilities(probabilities)
    np.testing.assert_allclose(best[0, 0], [0.2, 0, 0.8], atol=1e-9)
    floor = expected_floor(probabilities)
    loss = -(2 * np.log(0.8) + 0.5 * np.log(0.2))
    assert floor.spinal == pytest.approx(loss / 6.5)
    assert floor.any_severe == pytest.approx(loss / 2.5)
    assert floor.total == pytest.approx((loss / 6.5 + loss / 2.5) / 4)


def test_the_joint_canal_problem_is_solved_as_a_numerical_optimiser_does():
    rng = np.random.default_rng(2)
    probabilities = np.concatenate(
        [rng.dirichlet([2.0, 0.7, 0.5], (2, 5)), np.full((2, 20, 3), 1 / 3)], axis=1
    )
    best = expected_floor(probabilities).total
    predictions = optimal_probabilities(probabilities)

    def score(values: np.ndarray) -> float:
        logits = np.concatenate([np.zeros((2, 5, 1)), values.reshape(2, 5, 2)], axis=2)
        canal = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
        predictions[:, :5] = canal
        return expected_score(probabilities, predictions).total

    found = min(
        minimize(score, rng.normal(0, 1, 20), method="Powell", options={"maxfev": 3000}).fun
        for _ in range(2)
    )
    assert best <= found + 1e-9
    assert found - best < 2e-3


def test_the_floor_is_as_hard_as_the_real_task(truth):
    assert 0.33 <= expected_floor(truth).total <= 0.36


def test_no_nearby_prediction_scores_better(truth):
    best = optimal_probabilities(truth)
    floor = expected_score(truth, best).total
    rng = np.random.default_rng(0)
    for _ in range(5):
        other = best * np.exp(rng.normal(0, 0.1, best.shape))
        other /= other.sum(axis=-1, keepdims=True)
        assert expected_score(truth, other).total > floor
    weighted = truth * [1, 2, 4]
    alone = weighted / weighted.sum(axis=-1, keepdims=True)
    assert expected_score(truth, alone).total > floor


def test_an_oracle_scores_the_floor_and_constants_clearly_worse(truth):
    statistics = load_statistics()
    labels = draw_grades(np.random.default_rng(3), truth, statistics).grade
    realised = realised_floor(labels, truth)
    oracle = score_of_labels(labels, optimal_probabilities(truth))
    assert oracle == realised
    # 4000 studies: the score's standard deviation is about 0.005.
    assert realised.total == pytest.approx(expected_floor(truth).total, abs=0.02)
    constants = statistics.prevalence * [1, 2, 4]
    constants /= constants.sum(axis=1, keepdims=True)
    prior = score_of_labels(labels, np.broadcast_to(constants, truth.shape))
    assert prior.total == pytest.approx(0.79, abs=0.02)


def test_mislabels_raise_the_floor(truth):
    statistics = load_statistics()
    observed = with_mislabels(truth, 0.05)
    np.testing.assert_allclose(observed.sum(axis=-1), 1)
    assert expected_floor(observed).total > expected_floor(truth).total + 0.05
    labels = draw_grades(np.random.default_rng(4), truth, statistics, 0.05).grade
    assert realised_floor(labels, observed).total == pytest.approx(
        expected_floor(observed).total, abs=0.02
    )
