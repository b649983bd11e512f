from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from spinegrade.combine.blend import calibrate, mix
from spinegrade.combine.board import Board, count_filled, gather
from spinegrade.combine.combine import fit_combinations
from spinegrade.combine.fit import fit_weights, problem_loss
from spinegrade.combine.members import chosen_members
from spinegrade.combine.objective import Objective, Problem
from spinegrade.combine.prior import cross_fitted_prior, fit_prior
from spinegrade.combine.provenance import trace
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

SHARP = np.array([[0.9, 0.06, 0.04], [0.1, 0.8, 0.1], [0.04, 0.06, 0.9]])


def cohort(studies: int, folds: int, new: int = 2, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    """Labels of all cells (new studies have none), and the fold of each study."""
    random = np.random.default_rng(seed)
    names = [f"s{n:03d}" for n in range(studies + new)]
    fold = pd.Series(pd.array([n % folds for n in range(studies)] + [pd.NA] * new, "Int64"), names)
    cells = pd.DataFrame(LUMBAR_CELLS)
    labels = pd.concat([cells.assign(study=name) for name in names[:studies]], ignore_index=True)
    grade = random.choice(3, p=(0.6, 0.25, 0.15), size=len(labels))
    return labels.assign(grade=pd.array(grade, "Int64")), fold


def predictions(
    labels: pd.DataFrame, fold: pd.Series, name: str, knows: np.ndarray, seed: int = 1
) -> pd.DataFrame:
    """Sharp and right on nine of ten cells where ``knows`` (labels) holds, flat elsewhere."""
    random = np.random.default_rng(seed)
    grade = labels["grade"].to_numpy("int64")
    wrong = random.random(len(grade)) < 0.1
    seen = np.where(wrong, random.integers(0, 3, len(grade)), grade)
    values = np.where(knows[:, None], SHARP[seen], 1 / 3)
    table = labels.drop(columns="grade").assign(
        classifier=name, fold=fold.reindex(labels["study"]).array
    )
    table[list(PROBABILITY_COLUMNS)] = values
    new = fold.index[fold.isna()]
    cells = pd.DataFrame(LUMBAR_CELLS).assign(
        classifier=name, fold=pd.NA, **dict.fromkeys(PROBABILITY_COLUMNS, 1 / 3)
    )
    extra = [cells.assign(study=study).astype({"fold": "Int64"}) for study in new]
    return pd.concat([table, *extra], ignore_index=True)


def board_of(labels: pd.DataFrame, fold: pd.Series, **classifiers: pd.DataFrame) -> Board:
    return gather(
        labels, fold, cross_fitted_prior(labels, fold, LUMBAR_MRI)[0], classifiers, LUMBAR_MRI
    )


def in_folds(board: Board, probabilities: np.ndarray) -> float:
    cells, mask = labelled_cells(board)
    return score_cells(cells, probabilities[mask]).total


def test_prior_by_hand() -> None:
    labels, _ = cohort(1, 1, new=0)
    # Foraminal, ten cells: l1_l2 both normal, l2_l3 both severe, the rest one moderate.
    grades = {("l1_l2", "left"): 0, ("l1_l2", "right"): 0, ("l2_l3", "left"): 2}
    grades |= {("l2_l3", "right"): 2, ("l3_l4", "left"): 1}
    foraminal = labels["condition"] == FORAMINAL
    labels.loc[foraminal, "grade"] = pd.array(
        [grades.get(key, pd.NA) for key in zip(labels["level"], labels["side"], strict=True)],
        "Int64",
    )[foraminal.to_numpy()]
    prior = fit_prior(labels, LUMBAR_MRI)
    # Shares 2/5, 1/5, 2/5. l1_l2: counts 2, 0, 0 plus 3 p = 3.2, 0.6, 1.2, times 1, 2, 4.
    raw = np.array([3.2, 1.2, 4.8])
    assert prior[FORAMINAL]["l1_l2"] == pytest.approx(raw / raw.sum())
    # No label at l5_s1: the shares alone, 1.2, 0.6, 1.2 times 1, 2, 4.
    bare = np.array([1.2, 1.2, 4.8])
    assert prior[FORAMINAL]["l5_s1"] == pytest.approx(bare / bare.sum())


def test_prior_is_cross_fitted_and_never_zero() -> None:
    labels, fold = cohort(9, 3)
    table, whole = cross_fitted_prior(labels, fold, LUMBAR_MRI)
    assert len(table) == 11 * 25 and table["fold"].isna().sum() == 50
    changed = labels.copy()
    changed.loc[changed["study"] == "s000", "grade"] = 2
    again, _ = cross_fitted_prior(changed, fold, LUMBAR_MRI)
    columns = list(PROBABILITY_COLUMNS)
    same = (table[columns] == again[columns]).all(axis=1)
    assert same[table["fold"] == 0].all()  # fold 0 never looks at its own labels
    assert not same[table["fold"] != 0].any()
    new = table[table["study"] == "s009"].iloc[0]
    assert new[columns].tolist() == whole[new["condition"]][new["level"]]
    mild = labels.assign(grade=pd.array([0] * len(labels), "Int64"))
    assert (
        min(min(row) for part in fit_prior(mild, LUMBAR_MRI).values() for row in part.values()) > 0
    )
    with refused("PRIOR_WITHOUT_LABELS", SPINAL):
        fit_prior(labels[labels["condition"] != SPINAL], LUMBAR_MRI)


@pytest.mark.parametrize("blend", ["probabilities", "logits"])
@pytest.mark.parametrize("any_severe", [True, False])
def test_gradients_agree_with_differences(blend: str, any_severe: bool) -> None:
    random = np.random.default_rng(3)
    values = random.dirichlet(np.ones(3), size=(4, 60))
    problem = Problem.of(
        values, random.integers(0, 3, 60), np.arange(60) // 5, GRADE_WEIGHTS, any_severe, blend
    )
    objective = Objective(problem)
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    loss, gradient = objective.by_weights(weights)
    assert loss == pytest.approx(problem_loss(problem, mix(values, weights, blend)))
    for member, step in enumerate(1e-6 * np.eye(4)):
        up, down = (objective.by_weights(weights + sign * step)[0] for sign in (1, -1))
        assert gradient[member] == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-8)
    mixed = problem.mixed(weights)
    logs = np.array([0.3, -0.4])
    loss, gradient = objective.by_calibration(logs, np.log(mixed).T)
    by_hand = problem_loss(problem, calibrate(mixed, *np.exp(logs)))
    assert loss == pytest.approx(by_hand)
    for place, step in enumerate(1e-6 * np.eye(2)):
        up, down = (
            objective.by_calibration(logs + sign * step, np.log(mixed).T)[0] for sign in (1, -1)
        )
        assert gradient[place] == pytest.approx((up - down) / 2e-6, rel=1e-4)


def test_objective_is_the_metric() -> None:
    labels, fold = cohort(12, 3)
    board = board_of(labels, fold)
    cells, mask = labelled_cells(board)
    values = np.random.default_rng(0).dirichlet(np.ones(3), size=int(mask.sum()))
    total = 0.0
    for code in range(3):
        chosen = cells.condition == code
        problem = Problem.of(
            values[None, chosen], cells.grade[chosen], cells.study[chosen], GRADE_WEIGHTS, code == 0
        )
        total += problem_loss(problem, values[chosen])
    assert total / 4 == pytest.approx(score_cells(cells, values).total, abs=1e-12)


def test_mix_and_calibration_by_hand() -> None:
    values = np.array([[[0.8, 0.1, 0.1]], [[0.4, 0.3, 0.3]]])
    mixed = mix(values, np.array([0.25, 0.75]))
    assert mixed[0] == pytest.approx([0.5, 0.25, 0.25])
    # Temperature 0.5 squares: 4 : 1 : 1; severe times 2 gives 4 : 1 : 2.
    assert calibrate(mixed, 0.5, 2.0)[0] == pytest.approx([4 / 7, 1 / 7, 2 / 7])
    certain = mix(np.array([[[1.0, 0.0, 0.0]]]), np.ones(1))
    assert certain.min() > 0 and certain.sum() == pytest.approx(1.0)


def test_complementary_members_are_found() -> None:
    labels, fold = cohort(60, 3)
    upper = labels["level"].isin(["l1_l2", "l2_l3"]).to_numpy()
    nowhere = np.zeros(len(labels), dtype=bool)
    board = board_of(
        labels,
        fold,
        upper=predictions(labels, fold, "upper", upper),
        lower=predictions(labels, fold, "lower", ~upper, seed=2),
        noise=predictions(labels, fold, "noise", nowhere),
    )
    fitted, cross_fitted, _ = fit_combinations(board, FitSettings(calibration="always"))
    for condition in CONDITIONS:
        weight = dict(zip(fitted.members[condition], fitted.whole[condition].weights, strict=True))
        assert sum(weight.values()) == pytest.approx(1.0)
        assert weight["upper"] > 0.15 and weight["lower"] > 0.15 and weight["noise"] < 0.1
    alone = [in_folds(board, values) for values in board.values]
    assert in_folds(board, cross_fitted) < min(alone) - 0.1


def test_cross_fitting_does_not_see_its_own_fold() -> None:
    # Ten members of pure noise and few studies: fitted weights find luck in the labels
    # that they see. In sample that looks like skill; cross-fitted it must not.
    labels, fold = cohort(12, 3)
    random = np.random.default_rng(7)
    members = {}
    for number in range(10):
        name = f"luck{number}"
        table = predictions(labels, fold, name, np.zeros(len(labels), dtype=bool))
        table[list(PROBABILITY_COLUMNS)] = random.dirichlet(np.full(3, 3.0), len(table))
        members[name] = table
    board = board_of(labels, fold, **members)
    _, cross_fitted, in_sample = fit_combinations(board, FitSettings(calibration="never"))
    assert in_folds(board, in_sample) < in_folds(board, cross_fitted) - 0.005
    # And to the bit: other labels in fold 0 change nothing that fold 0 is given.
    changed = labels.copy()
    own = changed["study"].map(fold) == 0
    changed.loc[own, "grade"] = 2 - changed.loc[own, "grade"]
    prior = cross_fitted_prior(labels, fold, LUMBAR_MRI)[0]
    first = gather(labels, fold, prior, members, LUMBAR_MRI)
    other = gather(changed, fold, prior, members, LUMBAR_MRI)
    before, after = (
        fit_combinations(b, FitSettings(calibration="auto"))[1] for b in (first, other)
    )
    held = first.fold == 0
    assert np.array_equal(before[held], after[held])
    assert not np.array_equal(before[~held], after[~held])


def test_weights_without_labels_are_even_and_sure_errors_stay_finite() -> None:
    empty = Problem.of(np.empty((2, 0, 3)), np.empty(0, int), np.empty(0, int), GRADE_WEIGHTS, True)
    assert fit_weights(Objective(empty)).tolist() == [0.5, 0.5]
    wrong = np.tile([1.0, 0.0, 0.0], (2, 8, 1))
    problem = Problem.of(wrong, np.full(8, 2), np.arange(8), GRADE_WEIGHTS, True)
    assert np.isfinite(problem_loss(problem, mix(wrong, fit_weights(Objective(problem)))))


def test_missing_cells_are_filled_with_the_prior_and_listed() -> None:
    labels, fold = cohort(12, 3)
    table = predictions(labels, fold, "net", np.ones(len(labels), dtype=bool))
    table = table[table["condition"] != FORAMINAL].drop(index=[0, 3])
    board = board_of(labels, fold, net=table)
    assert count_filled(board) == {"net": {SPINAL: 2, CONDITIONS[2]: 0}}
    assert np.array_equal(board.values[1, 0], board.values[0, 0])
    fitted, cross_fitted, in_sample = fit_combinations(board)
    assert fitted.members[FORAMINAL] == ("prior",)
    listed = trace(board, weights_dict(fitted, {}, FitSettings())).filled(board)
    assert (listed["source"] == "prior").all()
    lost = listed[listed["lacking"] == "net"]
    assert lost[["study", "level"]].to_numpy().tolist() == [["s000", "l1_l2"], ["s000", "l4_l5"]]
    # Nobody serves the foramina: they are listed too, ten of each of the 14 studies.
    rest = listed[listed["lacking"] == ""]
    assert len(rest) == 140 and set(rest["condition"]) == {FORAMINAL}
    report = score_report(board, cross_fitted, in_sample, None, 100, 0)
    assert report["counts"]["cells_scored"] == 300 and report["served"]["net"][0] == SPINAL
    assert report["prior"]["foraminal"] == report["classifiers"]["net"]["foraminal"]
    applied = apply_combinations(board, weights_dict(fitted, {}, FitSettings())["all_folds"])
    assert applied == pytest.approx(in_sample, abs=1e-7)
    without = fit_combinations(board, FitSettings(prior_member=False))[0]
    assert without.members[SPINAL] == ("net",) and without.members[FORAMINAL] == ("prior",)


def test_new_studies_get_the_weights_of_all_folds() -> None:
    labels, fold = cohort(12, 3)
    net = predictions(labels, fold, "net", np.ones(len(labels), dtype=bool))
    board = board_of(labels, fold, net=net)
    _, cross_fitted, in_sample = fit_combinations(board)
    new = board.fold < 0
    assert new.sum() == 50 and np.array_equal(cross_fitted[new], in_sample[new])
    assert cross_fitted.sum(axis=1) == pytest.approx(1.0)


def test_bad_members_are_refused() -> None:
    labels, fold = cohort(6, 2)
    net = predictions(labels, fold, "net", np.ones(len(labels), dtype=bool))
    leaked = net.assign(fold=net["fold"].where(net["study"] != "s001", pd.NA))
    with refused("PREDICTION_OF_ANOTHER_FOLD", "net", "row 25", "study=s001", "-1"):
        board_of(labels, fold, net=leaked)
    with refused("PREDICTION_STUDY_UNKNOWN", "row 0", "study=stranger"):
        board_of(labels, fold, net=net.replace({"study": {"s000": "stranger"}}))
    with refused("PREDICTION_TWICE", "net"):
        board_of(labels, fold, net=pd.concat([net, net.iloc[:1]]))
    with refused("COMBINE_ONE_FOLD"):
        board = board_of(labels, fold)
        fit_combinations(replace(board, fold=np.minimum(board.fold, 0)))
    with refused("MEMBER_UNKNOWN", "nett", "net", key="combine.members"):
        chosen_members(["nett"], {"net": {}})
    assert chosen_members("all", {"a": 1, "b": 2}) == (["a", "b"], [])
    with refused("WEIGHTS_MEMBER_MISSING", "'net'"):
        part = {"weights": {"net": 1.0}, "temperature": 1.0, "severe_factor": 1.0}
        apply_combinations(board_of(labels, fold), dict.fromkeys(CONDITIONS, part))


def test_equal_weights_leave_the_prior_and_who_does_not_serve_out() -> None:
    labels, fold = cohort(8, 2, new=0)
    knows = np.ones(len(labels), bool)
    one, two = (predictions(labels, fold, name, knows, seed) for name, seed in (("a", 1), ("b", 2)))
    one[list(PROBABILITY_COLUMNS)] = (0.2, 0.3, 0.5)
    two[list(PROBABILITY_COLUMNS)] = (0.6, 0.3, 0.1)
    board = board_of(labels, fold, a=one, b=two[two["condition"] == FORAMINAL])
    mean = equal_mix(board)
    foraminal = board.condition == CONDITIONS.index(FORAMINAL)
    np.testing.assert_allclose(mean[foraminal], [[0.4, 0.3, 0.3]] * foraminal.sum())
    np.testing.assert_allclose(mean[~foraminal], [[0.2, 0.3, 0.5]] * (~foraminal).sum())
    of_b = board_of(labels, fold, b=two[two["condition"] == FORAMINAL])
    np.testing.assert_array_equal(equal_mix(of_b)[~foraminal], of_b.values[0][~foraminal])
    cells, mask = labelled_cells(board)
    report = score_report(board, mean, None, None, 20, 0)
    assert report["equal_weights"] == report["ensemble"]
    assert report["difference_to_equal_weights"]["value"] == 0
    assert report["ensemble"]["total"] == pytest.approx(score_cells(cells, mean[mask]).total)
