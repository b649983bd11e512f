"""Prediction of the two-stage graders: answers by hand, looks, and no leak."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from learner_helpers import CPU, stand_ins
from spinegrade.errors import SpinegradeError
from spinegrade.grade.views import predict as views
from spinegrade.grade.views.looks import plain_look
from spinegrade.grade.views.rows import logits_of
from spinegrade.grade.views.samples import Batch
from spinegrade.tables.files import read_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.training.fold_models import Cohort
from spinegrade.training.record import read_weights, save_weights
from spinegrade.training.task import Moment
from torch import nn
from two_stage_helpers import (
    SHAPES,
    network_of,
    opened,
    predict,
    rows_of,
    small,
    small_block,
    train,
    write_cohort,
)

AT = Moment(CPU, torch.float32)
NAMES = [f"s{number:03d}" for number in range(9)]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cohort) -> list[str]:
    folder = tmp_path_factory.mktemp("trained")
    block = small_block(training={"epochs": 1})
    return [str(train(folder, cohort, block, fold)) for fold in (0, 1)]


def samples(cohort, settings):
    return rows_of(cohort, settings, NAMES)


def run(cohort, folder: Path, weights: list[str], folds: list[str]) -> tuple[pd.DataFrame, ...]:
    files = predict(folder, cohort, small_block(training={"epochs": 1}), weights, folds=folds)
    return tuple(read_table(files[name], PREDICTIONS) for name in ("out_of_fold", "new"))


class Counts(nn.Module):
    """Logits of the crop's brightness, the row of the group and the level: told by hand."""

    def __init__(self, fold: int = 0) -> None:
        super().__init__()
        self.fold = fold

    def forward(self, sagittal, sagittal_there):
        bright = sagittal.mean(dim=(3, 4, 5))
        return torch.stack([bright, bright * 0 + self.fold, bright * 0], dim=-1)


def test_each_study_by_its_own_fold_and_new_ones_by_the_mean_of_logits(cohort):
    settings = small()
    folds = {f"s{number:03d}": number % 2 for number in range(8)}
    whole = opened(cohort, settings)
    networks = [Counts(0), Counts(2)]

    def graded(of: Cohort) -> pd.DataFrame:
        return views.predict(settings, whole, stand_ins(networks, of), NAMES).predictions

    table = graded(Cohort(NAMES, frozenset(["s008"]), folds))
    rows = samples(cohort, settings)
    assert len(table) == 9 * 10
    batch = rows.read(np.arange(9))
    middle = batch.images["sagittal"][..., 4:28, 4:28].float() / 127.5 - 1
    bright = middle.mean(dim=(3, 4, 5)).double()
    for study, fold, second in (("s003", 1, 2.0), ("s004", 0, 0.0), ("s008", None, 1.0)):
        mine = table[(table["study"] == study) & (table["level"] == "l4_l5")]
        row = mine[mine["side"] == "right"].iloc[0]
        assert (pd.isna(row["fold"]) and fold is None) or row["fold"] == fold
        logits = torch.tensor([float(bright[NAMES.index(study), 1, 3]), second, 0.0])
        expected = logits.softmax(dim=0).numpy()
        np.testing.assert_allclose(
            row[list(PROBABILITY_COLUMNS)].to_numpy(float), expected, atol=1e-5
        )
    everyone = graded(Cohort(NAMES, frozenset(NAMES), None))
    assert everyone["fold"].isna().all() and len(everyone) == 90


def test_the_tables_are_those_of_every_classifier(tmp_path, cohort, trained):
    out_of_fold, new = run(cohort, tmp_path, trained, [cohort["folds"]])
    assert len(out_of_fold) == 80 and set(new["study"]) == {"s008"} and len(new) == 10
    assert set(out_of_fold["condition"]) == {"neural_foraminal_narrowing"}
    folds = read_table(cohort["folds"], FOLDS).set_index("study")["fold"]
    assert (out_of_fold["study"].map(folds) == out_of_fold["fold"]).all()
    for table in (out_of_fold, new):
        np.testing.assert_allclose(table[list(PROBABILITY_COLUMNS)].sum(axis=1), 1)


def test_one_study_planted_in_the_record_is_found(tmp_path, cohort, trained):
    planted = tmp_path / "planted.safetensors"
    weights, record = read_weights(trained[0])
    save_weights(planted, weights, replace(record, trained_on=(*record.trained_on, "s002")))
    with pytest.raises(SpinegradeError, match=r"planted.* 1 studies .* s002 among them"):
        run(cohort, tmp_path, [str(planted), trained[1]], [cohort["folds"]])
    # To other cohorts' studies all models are applied, and so none may have learnt from one.
    with pytest.raises(SpinegradeError, match="was trained on 4 studies"):
        run(cohort, tmp_path, trained, [])


def test_flips_average_the_logits_of_both_looks(cohort):
    class Left(nn.Module):
        """The mean of the left half of each crop."""

        def forward(self, sagittal, sagittal_there):
            half = sagittal[..., : sagittal.shape[-1] // 2].mean(dim=(3, 4, 5))
            return torch.stack([half, half * 0, half * 0], dim=-1)

    settings = small()
    rows = samples(cohort, settings)
    options = (settings, SHAPES, AT, plain_look)
    looks = (["plain"], ["plain", "flipped"])
    once, both = (logits_of(Left(), rows, *options, chosen)[..., 0] for chosen in looks)
    images = rows.read(np.arange(9)).images["sagittal"][..., 4:28, 4:28].double() / 127.5 - 1
    left, right = images[..., :12].mean(dim=(3, 4, 5)), images[..., 12:].mean(dim=(3, 4, 5))
    np.testing.assert_allclose(once, left.flatten(1), atol=1e-6)
    np.testing.assert_allclose(both, ((left + right) / 2).flatten(1), atol=1e-6)


def test_left_right_sees_the_other_side_with_slices_reversed(cohort):
    class FirstSlice(nn.Module):
        """The first slice of each crop, told apart by group."""

        def forward(self, sagittal, sagittal_there):
            first = sagittal[:, :, :, 0].mean(dim=(3, 4))
            group = torch.arange(2.0)[None, :, None].expand(first.shape)
            return torch.stack([first, group, first * 0], dim=-1)

    settings = small()
    rows = samples(cohort, settings)
    found = logits_of(
        *(FirstSlice(), rows, settings, SHAPES, AT, plain_look, ["plain", "mirrored"])
    )
    images = rows.read(np.arange(9)).images["sagittal"][..., 4:28, 4:28].double() / 127.5 - 1
    slices = images.mean(dim=(4, 5)).flatten(1, 2)
    # The cell's own crop both times; in the mirror its last slice is the first, its side the other.
    np.testing.assert_allclose(found[..., 0], (slices[..., 0] + slices[..., 2]) / 2, atol=1e-6)
    np.testing.assert_allclose(found[..., 1], 0.5)


def test_an_axial_grader_sees_a_mirrored_patient_as_the_other_side(cohort):
    """Its sides are one: who exchanges the crops of a study, mirrored, exchanges the answers."""
    settings = small("axial_side")
    rows = samples(cohort, settings)
    torch.manual_seed(3)
    network = network_of(settings).eval()
    batch = rows.read(np.arange(3))
    turned = Batch(
        {
            "axial": batch.images["axial"].flip(1).flip(-1),
            "sagittal": batch.images["sagittal"].flip(1).flip(3),
        },
        batch.there,
        batch.aspects,
        batch.grades,
    )
    with torch.inference_mode():
        own, other = (
            network(**plain_look(one, settings, SHAPES, "plain")) for one in (batch, turned)
        )
    assert own.shape == (3, 2, 5, 3)
    torch.testing.assert_close(own, other.flip(1))
    assert not torch.allclose(own, other)


def test_an_axial_grader_predicts_the_recesses(tmp_path, cohort):
    block = small_block(
        "axial_side", training={"epochs": 1, "batch_size": 2}, looks=["plain", "flipped"]
    )
    weights = [str(train(tmp_path, cohort, block, fold)) for fold in (0, 1)]
    files = predict(tmp_path, cohort, block, weights)
    known, new = (read_table(files[name], PREDICTIONS) for name in ("out_of_fold", "new"))
    assert set(known["condition"]) == {"subarticular_stenosis"}
    assert (len(known), len(new)) == (80, 10)
