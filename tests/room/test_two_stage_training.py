"""Training of the two-stage graders: they learn, and keep the right epoch."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from learner_helpers import CPU, engine, trained
from safetensors.torch import load_file
from spinegrade.errors import SpinegradeError
from spinegrade.grade.views.looks import plain_look
from spinegrade.grade.views.rows import graded_loss, logits_of
from spinegrade.grade.views.samples import Samples
from spinegrade.grade.views.settings import Settings
from spinegrade.grade.views.task import ViewTask
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.labels import LABELS
from spinegrade.tables.rois import ROIS
from spinegrade.training.engine import Training
from spinegrade.training.record import read_weights
from spinegrade.training.task import Moment
from two_stage_helpers import SHAPES, inputs_of, rows_of, small, small_block, train, write_cohort

PUBLISHED = {
    "as_published": ["columns"],
    "reads": {"foraminal": "foramen_set", "canal": "canal_set"},
}


def trainer_of(rows: Samples, settings: Settings) -> Training:
    return engine(ViewTask(rows, settings, SHAPES), settings.plan(0))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def samples(cohort, settings, studies=None):
    names = studies or [f"s{number:03d}" for number in range(9)]
    labels = read_table(cohort["labels"], LABELS)
    return rows_of(cohort, settings, names, labels)


def test_crops_and_grades_lie_in_their_columns(cohort):
    found = samples(cohort, small())
    assert len(found) == 9 and found.grades.shape == (9, 10)
    table = read_table(cohort["crops"]["foramen_set"][1][0], ROIS)
    array = np.load(cohort["crops"]["foramen_set"][0][0], mmap_mode="r", allow_pickle=False)
    row = table[
        (table["study"] == "s001") & (table["side"] == "right") & (table["level"] == "l3_l4")
    ]
    batch = found.read(np.array([3, 1]))
    # The patient's right is the second group; the outer stored slices are the margin.
    expected = array[int(row["row"].iloc[0]), 1:4]
    np.testing.assert_array_equal(batch.images["sagittal"][1, 1, 2], expected)
    assert int(batch.grades[1, 5 + 2]) == int(row["grade"].iloc[0])
    assert found.places()[0, 5 + 2].tolist() == [2, 2]
    assert (found.grades[8] == -1).all() and found.speaks[8].all(), "the new study has no grade"


def test_a_cell_without_a_crop_has_no_grade_that_counts(tmp_path, cohort):
    settings = small()
    inputs = inputs_of(cohort, settings.block)
    arrays, tables = inputs["arrays"], inputs["tables"]
    table = read_table(tables[0], ROIS)
    gone = (table["study"] == "s001") & (table["level"] == "l1_l2") & (table["side"] == "left")
    kept = table[~gone & (table["study"] != "s002")].reset_index(drop=True)
    np.save(tmp_path / "rois.npy", np.load(arrays[0], allow_pickle=False)[kept["row"].astype(int)])
    write_table(tmp_path / "rois.parquet", kept.assign(row=range(len(kept))), ROIS)
    changed = {
        "arrays": [str(tmp_path / "rois.npy"), arrays[1]],
        "tables": [str(tmp_path / "rois.parquet"), tables[1]],
    }
    labels = read_table(cohort["labels"], LABELS)
    found = rows_of(cohort, settings, ["s001", "s002", "s003"], labels, **changed)
    assert found.studies == ("s001", "s003"), "a study without a crop has no row"
    assert found.grades[0, 0] == -1 and not found.speaks[0, 0] and found.speaks[0, 1:].all()
    batch = found.read(np.array([0]))
    assert (
        not batch.there["sagittal_there"][0, 0, 0] and not batch.images["sagittal"][0, 0, 0].any()
    )


def test_the_published_columns_are_seen_and_not_graded(cohort):
    found = samples(cohort, small(**PUBLISHED))
    batch = found.read(np.arange(2))
    assert batch.images["sagittal"].shape[:4] == (2, 3, 5, 3) and found.grades.shape == (9, 15)
    assert (found.grades[:, :5] == -1).all() and not found.speaks[:, :5].any()
    assert batch.there["sagittal_there"].all() and (found.grades[:8, 5:] >= 0).all()


def test_crops_of_the_other_plane_are_refused(cohort):
    settings = small(grades="canal", reads={"canal": "recess_set"})
    with pytest.raises(
        SpinegradeError, match=r"roi set recess_set: the crop of study .* not sagittal"
    ):
        samples(cohort, settings)


def test_parts_of_a_step_add_up_to_the_whole(cohort):
    """With a loss of as many graded rows in every column; without batch statistics."""
    found = {}
    for accumulate in (1, 2):
        changed = {
            "training": {
                "batch_size": 4,
                "accumulation": accumulate,
                "loss": {"grade_weights": [1, 1, 1]},
            }
        }
        still = {"base": 0, "flip": 0, "jitter": 0}
        settings = small(
            model={"encoder": {"backbone": "test_efficientnet_gn"}}, augment=still, **changed
        )
        torch.manual_seed(1)
        rows = samples(cohort, settings, ["s000", "s001", "s002", "s003"])
        trainer = trainer_of(rows, settings)
        trainer.train_step(next(trainer.batches()))
        gradients = {name: p.grad for name, p in trainer.network.named_parameters()}
        found[accumulate] = (float(trainer.history[0]["loss"]), gradients)
    assert found[1][0] == pytest.approx(found[2][0], rel=1e-4)
    for name, value in found[1][1].items():
        torch.testing.assert_close(value, found[2][1][name], rtol=1e-3, atol=1e-5)


def test_it_learns_the_size_of_the_blob(cohort):
    training = {"learning_rate": 0.005, "epochs": 30, "batch_size": 2, "accumulation": 1}
    training |= {"average_decay": 0.8}
    settings = small(training=training, augment={"base": 0.2, "jitter_px": 1})
    rows = samples(cohort, settings, [f"s{k:03d}" for k in range(6)])
    trainer = trained(trainer_of(rows, settings))
    assert trainer.history[-1]["loss"] < 0.5 * trainer.history[0]["loss"]
    held_out = samples(cohort, settings, ["s006", "s007"])
    options = (settings, SHAPES, Moment(CPU, torch.float32), plain_look)
    assert graded_loss(logits_of(trainer.average.model, held_out, *options), held_out) < 0.5


def test_graded_loss_is_the_mean_of_the_conditions(cohort):
    rows = samples(cohort, small())
    logits = np.zeros((9, 10, 3))
    assert graded_loss(logits, rows) == pytest.approx(math.log(3))
    logits[..., 0] = math.log(2)
    weight = np.array([1, 2, 4])[rows.grades[:8]]
    chance = np.array([math.log(2), math.log(4), math.log(4)])[rows.grades[:8]]
    assert graded_loss(logits, rows) == pytest.approx((weight * chance).sum() / weight.sum())


def test_published_keeps_the_best_epoch_on_the_held_out_fold_and_stops(
    tmp_path, cohort, monkeypatch
):
    scores = iter([0.9, 0.5, 0.7, 0.6, 0.4])
    kept = []

    def scored(self, network, at):
        kept.append({k: v.clone() for k, v in network.state_dict().items()})
        return next(scores)

    monkeypatch.setattr(ViewTask, "choice", scored)
    block = small_block(select="published", training={"epochs": 5, "patience": 2})
    weights = train(tmp_path, cohort, block, 0)
    history = pd.read_csv(weights.with_suffix(".csv"))
    assert history["choice_loss"].tolist() == [0.9, 0.5, 0.7, 0.6], "after two worse ones it ends"
    stored = load_file(weights)
    assert all(torch.equal(value, kept[1][name]) for name, value in stored.items())
    seen = read_weights(weights)[1]
    assert seen.chosen_on == ("s000", "s002", "s004", "s006")
    assert seen.trained_on == ("s001", "s003", "s005", "s007") == tuple(sorted(seen.refused))


def test_the_digest_tells_pixels_and_grades(tmp_path, cohort):
    settings = small()
    before = samples(cohort, settings).digest()
    assert samples(cohort, settings).digest() == before
    arrays = inputs_of(cohort, settings.block)["arrays"]
    array = np.load(arrays[1], allow_pickle=False)
    array[3, 2, 8, 8] ^= 1
    np.save(tmp_path / "rois.npy", array)
    labels = read_table(cohort["labels"], LABELS)
    names = [f"s{number:03d}" for number in range(9)]
    other = [arrays[0], str(tmp_path / "rois.npy")]
    assert rows_of(cohort, settings, names, labels, arrays=other).digest() != before
    place = labels.index[labels["condition"] == "neural_foraminal_narrowing"][0]
    labels.loc[place, "grade"] = (
        2 - labels.loc[place, "grade"] if labels.loc[place, "grade"] != 1 else 0
    )
    assert rows_of(cohort, settings, names, labels).digest() != before
