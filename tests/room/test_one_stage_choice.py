"""Which studies and which epoch a one-stage training keeps, and what its weights say of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from one_stage_helpers import samples_of, small, train, write_cohort
from safetensors.torch import load_file, save_file
from spinegrade.errors import SpinegradeError
from spinegrade.grade.volumes.answers import look
from spinegrade.grade.volumes.network import Seen, load_network, save_network
from spinegrade.grade.volumes.reading import read_packed
from spinegrade.grade.volumes.trainer import OneStageTrainer
from spinegrade.tables import read_table
from spinegrade.training.fold_studies import FoldStudies, fold_studies

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> dict[str, str]:
    return write_cohort(tmp_path_factory.mktemp("t1"), "foraminal", 8, two_series=("s01", "s08"))


def test_which_studies_learn_and_which_choose(cohort):
    tables = read_table(cohort["studies"], "studies"), read_table(cohort["folds"], "folds")

    def found(select: str, fold: int = 0, inner_share: float = 0.4) -> FoldStudies:
        return fold_studies(
            *(*tables, fold),
            select=select,
            inner_share=inner_share,
            model="network net",
            seed=5,
            stream=("one_stage_inner", "net"),
        )

    outside, inside = ["s01", "s03", "s05", "s07"], ["s00", "s02", "s04", "s06"]
    assert found("last") == (outside, [])
    assert found("published") == (outside, inside)
    inner = found("inner")
    assert sorted([*inner.learning, *inner.choosing]) == outside
    assert inner.learning and inner.choosing
    with pytest.raises(SpinegradeError, match=r"network net, fold 2: 0 usable studies are held"):
        found("last", fold=2)
    with pytest.raises(SpinegradeError, match=r"fold 0: inner_share is 1e-06, which takes 0 of 4"):
        found("inner", inner_share=1e-6)


def test_the_epoch_with_the_lowest_choice_loss_is_kept(cohort, monkeypatch):
    settings = small("foraminal", select="published", training={"epochs": 3})
    samples = samples_of(cohort, settings)
    trainer = OneStageTrainer(samples, settings, 0, 1, CPU, samples.of(["s00", "s02"]))
    told = iter([0.9, 0.5, 0.7])
    monkeypatch.setattr(trainer, "choice_loss", lambda: next(told))
    kept = []
    for packed in trainer.batches():
        trainer.train_step(packed)
        if trainer.step == 0:
            state = trainer.average.model.state_dict()
            kept.append({name: value.clone() for name, value in state.items()})
    assert [row["choice_loss"] for row in trainer.history] == [0.9, 0.5, 0.7]
    for name, value in trainer.weights.items():
        assert torch.equal(value, kept[1][name])
    assert not all(torch.equal(value, kept[2][name]) for name, value in trainer.weights.items())


def test_the_choice_loss_by_hand(cohort):
    settings = small("foraminal", select="published")
    samples = samples_of(cohort, settings)
    grades = samples.grades.copy()
    grades[:2] = -1
    grades[0, 0], grades[0, 1], grades[1, 5] = 2, 0, 1
    choosing = replace(samples, grades=grades).of(["s00", "s01"])
    with_tta = replace(settings, tta="left_right")
    trainer = OneStageTrainer(samples, with_tta, 0, 1, CPU, choosing)
    net = trainer.average.model
    p = [look(net, *read_packed(choosing, np.array([k]), False)[:2], settings, CPU, torch.float32)
         for k in range(2)]  # fmt: skip
    first, second = (one.final.grades[0] for one in p)
    logs = 4 * np.log(first[0, 2]) + np.log(first[1, 0]) + 2 * np.log(second[5, 1])
    assert trainer.choice_loss() == pytest.approx(-logs / 7)


def test_a_network_chosen_on_its_fold_says_so(tmp_path, cohort):
    settings = small("foraminal", select="published", training={"epochs": 1})
    weights = train(tmp_path, cohort, settings, 0)
    _, seen = load_network(weights, settings, CPU)
    assert seen.trained_on == ("s01", "s03", "s05", "s07") and seen.code == "a"
    assert seen.chosen_on == ("s00", "s02", "s04", "s06")
    assert seen.refused == {"s01", "s03", "s05", "s07"}
    # Inner studies chose the epoch as well, and may not be predicted.
    inner = replace(seen, select="inner", chosen_on=("s01",), trained_on=("s03",))
    assert inner.refused == {"s01", "s03"}


def test_weights_of_another_network_are_refused(tmp_path, cohort):
    settings = small("foraminal", training={"epochs": 1})
    trainer = OneStageTrainer(samples_of(cohort, settings), settings, 0, 1, CPU)
    path = tmp_path / "w.safetensors"
    save_network(path, trainer.weights, Seen("net", "foraminal", 0, "last", "a", ("s01",), ()))
    load_network(path, settings, CPU)
    for other, words in (
        (small("canal"), "'canal', 'last'"),
        (small("foraminal", select="inner"), "'foraminal', 'inner'"),
        (small("foraminal", decoder={"widths": [8, 8, 8]}), "not the weights of network net"),
    ):
        with pytest.raises(SpinegradeError, match=words):
            load_network(path, other, CPU)
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(path), bare)
    with pytest.raises(SpinegradeError, match="does not say what it was trained on"):
        load_network(bare, settings, CPU)
