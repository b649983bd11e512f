"""Which studies and which epoch a one-stage training keeps, and what its weights say of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from one_stage_helpers import samples_of, small, small_block, train, write_cohort
from spinegrade.errors import SpinegradeError
from spinegrade.grade.volumes.answers import look
from spinegrade.grade.volumes.reading import read_packed
from spinegrade.grade.volumes.task import VolumeTask
from spinegrade.tables.files import read_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.studies import STUDIES
from spinegrade.training.fold_studies import FoldStudies, fold_studies
from spinegrade.training.record import read_weights
from spinegrade.training.task import Moment

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> dict[str, str]:
    return write_cohort(tmp_path_factory.mktemp("t1"), "foraminal", 8, two_series=("s01", "s08"))


def test_which_studies_learn_and_which_choose(cohort):
    tables = read_table(cohort["studies"], STUDIES), read_table(cohort["folds"], FOLDS)

    def found(select: str, fold: int = 0, inner_share: float = 0.4) -> FoldStudies:
        return fold_studies(
            *(*tables, fold),
            select=select,
            inner_share=inner_share,
            where=f"network net, fold {fold}",
            seed=5,
            stream=("one_stage_inner", "net"),
        )

    outside, inside = ["s01", "s03", "s05", "s07"], ["s00", "s02", "s04", "s06"]
    assert found("last") == (outside, [], inside)
    assert found("published") == (outside, inside, inside)
    inner = found("inner")
    assert sorted([*inner.learning, *inner.choosing]) == outside
    assert inner.learning and inner.choosing
    with pytest.raises(SpinegradeError, match=r"network net, fold 2: 0 usable studies are held"):
        found("last", fold=2)
    with pytest.raises(SpinegradeError, match=r"fold 0: inner_share is 1e-06, which takes 0 of 4"):
        found("inner", inner_share=1e-6)


def test_the_choice_loss_by_hand(cohort):
    settings = small("foraminal", select="published")
    samples = samples_of(cohort, settings)
    grades = samples.grades.copy()
    grades[:2] = -1
    grades[0, 0], grades[0, 1], grades[1, 5] = 2, 0, 1
    choosing = replace(samples, grades=grades).of(["s00", "s01"])
    mirrored = small("foraminal", select="published", looks=["plain", "mirrored"])
    task, at = VolumeTask(choosing, mirrored), Moment(CPU, torch.float32)
    net = task.network().eval()
    p = [look(net, *read_packed(choosing, np.array([k]))[:2], settings, at) for k in range(2)]
    first, second = (one.final.grades[0] for one in p)
    logs = 4 * np.log(first[0, 2]) + np.log(first[1, 0]) + 2 * np.log(second[5, 1])
    assert task.choice(net, at) == pytest.approx(-logs / 7)


def test_a_network_chosen_on_its_fold_says_so(tmp_path, cohort):
    block = small_block("foraminal", select="published", training={"epochs": 1})
    seen = read_weights(train(tmp_path, cohort, block, 0))[1]
    assert seen.trained_on == ("s01", "s03", "s05", "s07") and seen.code == "a"
    assert seen.chosen_on == ("s00", "s02", "s04", "s06")
    assert seen.refused == {"s01", "s03", "s05", "s07"}
    # Inner studies chose the epoch as well, and may not be predicted.
    inner = replace(seen, select="inner", chosen_on=("s01",), trained_on=("s03",))
    assert inner.refused == {"s01", "s03"}
