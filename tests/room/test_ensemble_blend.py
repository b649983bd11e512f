"""Blending, pruning, calibration and leave-one-out, against answers worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from spinegrade.combine.blend import BLENDS, FLOOR, mix
from spinegrade.combine.board import Board, gather
from spinegrade.combine.combine import fit_combinations
from spinegrade.combine.fit import fit_calibration, fit_pruned, fit_weights
from spinegrade.combine.objective import Objective, Problem
from spinegrade.combine.prior import cross_fitted_prior
from spinegrade.combine.scores import equal_mix, labelled_cells, score_report
from spinegrade.combine.settings import FitSettings
from spinegrade.combine.weights import apply_combinations, weights_dict
from spinegrade.metrics.score import score_cells
from spinegrade.regions.lumbar_mri import (
    CONDITIONS,
    FORAMINAL,
    GRADE_WEIGHTS,
    LUMBAR_CELLS,
    LUMBAR_MRI,
    SPINAL,
)
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    # As in a job: more threads than free cores make small sums many times as slow.
    with threadpool_limits(1):
        yield


COLUMNS = list(PROBABILITY_COLUMNS)
FAST = FitSettings(calibration="never", shrinkage="never")  # the weights as they are fitted


def cohort(studies: int, folds: int, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    """Labels of all cells, and the fold of each study."""
    names = [f"s{n:03d}" for n in range(studies)]
    fold = pd.Series(pd.array([n % folds for n in range(studies)], "Int64"), names)
    cells = pd.DataFrame(LUMBAR_CELLS)
    labels = pd.concat([cells.assign(study=name) for name in names], ignore_index=True)
    grade = np.random.default_rng(seed).choice(3, p=(0.6, 0.25, 0.15), size=len(labels))
    return labels.assign(grade=pd.array(grade, "Int64")), fold


def seen(labels: pd.DataFrame, quality: float, seed: int, heat: float = 1.0) -> np.ndarray:
    """The posterior (n, 3) of one who sees the grade through Gaussian noise of its own."""
    random = np.random.default_rng(seed)
    truth = np.eye(3)[labels["grade"].to_numpy("int64")]
    evidence = quality * (quality * truth + random.standard_normal(truth.shape))
    chance = np.exp(heat * (np.log([0.6, 0.5, 0.6]) + evidence))
    return chance / chance.sum(axis=1, keepdims=True)


def board_of(labels: pd.DataFrame, fold: pd.Series, **members: np.ndarray) -> Board:
    """Members by their probabilities (n, 3) in the labels' order; rows of NaN are missing."""
    key = labels.drop(columns="grade").assign(fold=fold.reindex(labels["study"]).array)
    tables = {}
    for name, values in members.items():
        table = key.assign(classifier=name)
        table[COLUMNS] = values
        tables[name] = table.dropna(subset=COLUMNS)
    return gather(labels, fold, cross_fitted_prior(labels, fold, LUMBAR_MRI)[0], tables, LUMBAR_MRI)


def total(board: Board, probabilities: np.ndarray) -> float:
    cells, mask = labelled_cells(board)
    return score_cells(cells, probabilities[mask]).total


def swapped_members(blend: str) -> Problem:
    # Two cells of grade 0 in three: A gives it 0.9 and B 0.1; in the third they change places.
    sure, unsure = [0.9, 0.05, 0.05], [0.1, 0.45, 0.45]
    values = np.array([[sure, sure, unsure], [unsure, unsure, sure]])
    return Problem.of(values, np.zeros(3, int), np.arange(3), GRADE_WEIGHTS, False, blend)


def test_logits_are_mixed_by_hand() -> None:
    values = np.array([[[0.8, 0.1, 0.1]], [[0.2, 0.4, 0.4]]])
    # Square roots of 0.16, 0.04 and 0.04: 2 : 1 : 1.
    assert mix(values, np.array([0.5, 0.5]), "logits")[0] == pytest.approx([0.5, 0.25, 0.25])
    # All weight on one member gives that member.
    assert mix(values, np.array([0.0, 1.0]), "logits")[0] == pytest.approx([0.2, 0.4, 0.4])
    # A zero counts as the floor, 1e-5: with 0.4 and half the weight, root of 4e-6.
    veto = np.array([[[1.0, 0.0, 0.0]], [[0.2, 0.4, 0.4]]])
    raw = np.array([np.sqrt(0.2), np.sqrt(0.4 * FLOOR), np.sqrt(0.4 * FLOOR)])
    assert mix(veto, np.array([0.5, 0.5]), "logits")[0] == pytest.approx(raw / raw.sum())


def test_the_fit_finds_the_optimum_worked_out_by_hand() -> None:
    # Probabilities: 2 * 0.8 / (0.1 + 0.8 w) = 0.8 / (0.9 - 0.8 w), so w = 1.7 / 2.4.
    weights = fit_weights(Objective(swapped_members("probabilities")))
    assert weights == pytest.approx([1.7 / 2.4, 0.7 / 2.4], abs=1e-4)
    # Logits: the scores of the two kinds of cell rise and fall alike, so at the optimum the
    # doubt left in the first kind is half that in the second.
    problem = swapped_members("logits")
    weights = fit_weights(Objective(problem))
    first, _, second = problem.mixed(weights)[:, 0]
    assert 2 * (1 - first) == pytest.approx(1 - second, abs=1e-4)
    assert 0.5 < weights[0] < 1.0


@pytest.mark.parametrize("blend", BLENDS)
def test_a_warm_start_ends_where_a_cold_one_does(blend: str) -> None:
    labels, _ = cohort(30, 2)
    values = np.stack([seen(labels, quality, seed) for seed, quality in enumerate((1, 1.3, 1.6))])
    grade, study = labels["grade"].to_numpy("int64"), np.arange(750) // 25
    objective = Objective(Problem.of(values, grade, study, GRADE_WEIGHTS, False, blend))
    cold = fit_weights(objective)
    warm = fit_weights(objective, warm=np.array([0.8, 0.2, 0.0]))
    assert warm == pytest.approx(cold, abs=2e-3)
    assert objective.by_weights(warm)[0] == pytest.approx(objective.by_weights(cold)[0], abs=1e-6)
    for other in [*np.eye(3), *(np.ones(3) - np.eye(3)) / 2]:
        assert objective.by_weights(cold)[0] <= objective.by_weights(other)[0] + 1e-9


@pytest.mark.parametrize("blend", BLENDS)
def test_weights_are_applied_in_the_blend_that_they_were_fitted_in(blend: str) -> None:
    labels, fold = cohort(24, 3)
    board = board_of(labels, fold, a=seen(labels, 1.2, 1), b=seen(labels, 1.5, 2, heat=1.5))
    settings = FitSettings(blend=blend, calibration="always")
    fitted, _, in_sample = fit_combinations(board, settings)
    written = weights_dict(fitted, {}, settings)
    assert written["blend"] == blend
    applied = apply_combinations(board, written["all_folds"], blend)
    assert applied == pytest.approx(in_sample, abs=1e-7)
    other = next(name for name in BLENDS if name != blend)
    wrongly = apply_combinations(board, written["all_folds"], other)
    assert np.abs(wrongly - in_sample).max() > 0.01


def test_calibration_by_hand() -> None:
    # Weighted shares 1/2, 1/4, 1/4 (8, 2 and 1 cells of weights 1, 2, 4).
    grade = np.repeat([0, 1, 2], [8, 2, 1])
    squared = np.tile([2 / 3, 1 / 6, 1 / 6], (1, 11, 1))
    for blend in BLENDS:
        problem = Problem.of(squared, grade, np.arange(11), GRADE_WEIGHTS, False, blend)
        found = fit_calibration(Objective(problem), problem.mixed(np.ones(1)), spread=1e3)
        # The shares squared are 4 : 1 : 1, so a temperature of 2 brings them back.
        assert found == pytest.approx((2.0, 1.0), abs=1e-3)
    # Even probabilities have nothing to sharpen; severe's share is 8 of 16, its factor 2.
    grade = np.repeat([0, 1, 2], [4, 2, 2])
    problem = Problem.of(np.full((1, 8, 3), 1 / 3), grade, np.arange(8), GRADE_WEIGHTS, False)
    _, factor = fit_calibration(Objective(problem), problem.mixed(np.ones(1)), spread=1e3)
    assert factor == pytest.approx(2.0, abs=1e-3)
    # A narrow prior on the logarithms holds both at one.
    held = fit_calibration(Objective(problem), problem.mixed(np.ones(1)), spread=1e-3)
    assert held == pytest.approx((1.0, 1.0), abs=1e-4)


@pytest.mark.parametrize("blend", BLENDS)
def test_calibration_mends_members_that_are_too_sure(blend: str) -> None:
    labels, fold = cohort(60, 3)
    board = board_of(labels, fold, a=seen(labels, 1.1, 1, heat=2.5), b=seen(labels, 1.1, 1, 3.0))
    settings = FitSettings(prior_member=False, blend=blend, calibration="auto")
    fitted, cross_fitted, _ = fit_combinations(board, settings)
    _, plain, _ = fit_combinations(board, replace(settings, calibration="never"))
    # The posterior was raised to 2.5 and 3: near those it is brought back, less the pull to one.
    assert all(1.8 < part.temperature < 3.0 for part in fitted.whole.values())
    assert total(board, cross_fitted) < total(board, plain) - 0.1


@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("prune", [0.0, 0.1])
def test_nothing_of_a_fold_reaches_what_the_fold_is_given(blend: str, prune: float) -> None:
    labels, fold = cohort(18, 3)
    members = {name: seen(labels, 0.9 + 0.2 * n, n) for n, name in enumerate("abc")}
    changed = labels.copy()
    own = changed["study"].map(fold) == 0
    changed.loc[own, "grade"] = 2 - changed.loc[own, "grade"]
    first = board_of(labels, fold, **members)
    other = replace(first, grade=board_of(changed, fold, **members).grade)
    settings = FitSettings(blend=blend, prune=prune, leave_one_out=True)
    (one, before, _), (two, after, _) = (fit_combinations(b, settings) for b in (first, other))
    held = first.fold == 0
    assert (first.grade[held] != other.grade[held]).any()
    assert np.array_equal(before[held], after[held])
    assert not np.array_equal(before[~held], after[~held])
    for name in ("a", "b", "c", "prior"):
        assert np.array_equal(one.without[name][held], two.without[name][held])


@pytest.mark.parametrize("blend", BLENDS)
def test_small_weights_are_pruned_and_the_others_fitted_again(blend: str) -> None:
    labels, fold = cohort(40, 2)
    members = {name: seen(labels, 1.0 + 0.25 * n, n) for n, name in enumerate("abcd")}
    board = board_of(labels, fold, **members)
    plain = fit_combinations(board, replace(FAST, blend=blend))[0]
    settings = replace(FAST, blend=blend, prune=0.2)
    fitted = fit_combinations(board, settings)[0]
    lost = 0
    for condition in CONDITIONS:
        before, after = plain.whole[condition].weights, fitted.whole[condition].weights
        assert after.sum() == pytest.approx(1.0) and ((after == 0) | (after >= 0.2)).all()
        pruned = list(fitted.whole[condition].pruned)
        assert (after[pruned] == 0).all() and (before[before >= 0.2] > 0).all()
        lost += len(pruned)
        # What is left is the optimum among those that are left.
        chosen = board.condition == CONDITIONS.index(condition)
        problem = Problem.of(
            board.values[:, chosen],
            board.grade[chosen],
            board.study[chosen],
            GRADE_WEIGHTS,
            condition == SPINAL,
            blend,
        )
        again = fit_weights(Objective(problem), after > 0)
        assert after == pytest.approx(again, abs=5e-3)
        listed = weights_dict(fitted, {}, settings)["all_folds"][condition]
        assert listed["pruned"] == [fitted.members[condition][place] for place in pruned]
        assert all(listed["weights"][name] == 0 for name in listed["pruned"])
    assert lost > 0


def test_pruning_leaves_the_largest_and_nothing_that_is_not_allowed() -> None:
    problem = swapped_members("probabilities")
    weights, pruned = fit_pruned(Objective(problem), np.ones(2, bool), prune=0.5)
    assert weights.tolist() == [1.0, 0.0] and pruned == (1,)
    weights, pruned = fit_pruned(Objective(problem), np.ones(2, bool), prune=0.25)
    assert weights == pytest.approx([1.7 / 2.4, 0.7 / 2.4], abs=1e-4) and pruned == ()
    weights, pruned = fit_pruned(Objective(problem), np.array([False, True]), prune=0.5)
    assert weights.tolist() == [0.0, 1.0] and pruned == ()


@pytest.mark.parametrize("blend", BLENDS)
def test_members_that_are_alike_are_not_all_pruned(blend: str) -> None:
    labels, fold = cohort(30, 3)
    net = seen(labels, 1.4, 1)
    board = board_of(labels, fold, **{f"copy{n}": net for n in range(8)})
    plain = fit_combinations(board, replace(FAST, blend=blend))[1]
    fitted, pruned, _ = fit_combinations(board, replace(FAST, blend=blend, prune=0.3))
    # Eight copies have an eighth each at most; two or three with 0.3 and more are left.
    assert total(board, pruned) == pytest.approx(total(board, plain), abs=0.005)
    for part in fitted.whole.values():
        assert part.weights[1:].max() >= 0.3 and len(part.pruned) >= 5


@pytest.mark.parametrize("blend", BLENDS)
def test_leaving_a_member_out_is_the_fit_without_it(blend: str) -> None:
    labels, fold = cohort(36, 3)
    partial = seen(labels, 1.6, 9)
    partial[(labels["condition"] != FORAMINAL).to_numpy()] = np.nan
    members = {"a": seen(labels, 1.2, 1), "b": seen(labels, 1.3, 2), "partial": partial}
    board = board_of(labels, fold, **members)
    settings = replace(FAST, blend=blend, leave_one_out=True)
    fitted, cross_fitted, in_sample = fit_combinations(board, settings)
    assert set(fitted.without) == {"prior", "a", "b", "partial"}
    for name in members:
        rest = {other: values for other, values in members.items() if other != name}
        _, by_itself, _ = fit_combinations(
            board_of(labels, fold, **rest), replace(FAST, blend=blend)
        )
        assert fitted.without[name] == pytest.approx(by_itself, abs=5e-3)
        assert total(board, fitted.without[name]) == pytest.approx(
            total(board, by_itself), abs=1e-4
        )
    # Where it has no part, the ensemble without it is the ensemble.
    elsewhere = board.condition != CONDITIONS.index(FORAMINAL)
    assert np.array_equal(fitted.without["partial"][elsewhere], cross_fitted[elsewhere])
    report = score_report(board, cross_fitted, in_sample, None, 200, 0, None, fitted.without)
    left = report["leave_one_out"]
    assert left["partial"]["difference"]["high"] < 0 and left["a"]["difference"]["high"] < 0
    assert left["partial"]["score"]["spinal"] == report["ensemble"]["spinal"]
    for name, part in left.items():
        assert part["score"]["total"] == pytest.approx(total(board, fitted.without[name]))
        gap = report["ensemble"]["total"] - part["score"]["total"]
        assert part["difference"]["value"] == pytest.approx(gap, abs=2e-9)


def test_without_its_only_member_a_condition_has_the_prior() -> None:
    labels, fold = cohort(20, 2)
    board = board_of(labels, fold, net=seen(labels, 1.4, 1))
    settings = replace(FAST, prior_member=False, leave_one_out=True)
    fitted, cross_fitted, in_sample = fit_combinations(board, settings)
    assert fitted.members[SPINAL] == ("net",) and set(fitted.without) == {"net"}
    assert fitted.without["net"] == pytest.approx(board.values[0], abs=1e-12)
    report = score_report(board, cross_fitted, in_sample, None, 100, 0, None, fitted.without)
    assert report["leave_one_out"]["net"]["score"] == report["prior"]
    assert score_report(board, cross_fitted, in_sample, None, 100, 0)["leave_one_out"] is None


def test_a_copy_of_a_member_adds_nothing_when_one_of_them_goes() -> None:
    labels, fold = cohort(30, 3)
    net = seen(labels, 1.4, 1)
    board = board_of(labels, fold, net=net, copy=net)
    fitted, cross_fitted, _ = fit_combinations(board, replace(FAST, leave_one_out=True))
    for name in ("net", "copy"):
        assert total(board, fitted.without[name]) == pytest.approx(
            total(board, cross_fitted), abs=1e-5
        )


def test_equal_weights_are_those_of_the_blend() -> None:
    labels, fold = cohort(6, 2)
    ones = np.ones((len(labels), 1))
    board = board_of(labels, fold, a=ones * [0.8, 0.1, 0.1], b=ones * [0.2, 0.4, 0.4])
    assert equal_mix(board)[0] == pytest.approx([0.5, 0.25, 0.25])
    uneven = board_of(labels, fold, a=ones * [0.98, 0.01, 0.01], b=ones * [0.2, 0.4, 0.4])
    raw = np.sqrt([0.196, 0.004, 0.004])
    assert equal_mix(uneven, "logits")[0] == pytest.approx(raw / raw.sum())
    assert equal_mix(uneven)[0] == pytest.approx([0.59, 0.205, 0.205])
