"""Graders of cells by fold on made-up crops: what they read, that they learn, who gets a row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from cell_helpers import (
    KIND,
    SHAPES,
    given_of,
    inputs_of,
    predict,
    small,
    small_block,
    train,
    write_cohort,
    write_tables,
)
from learner_helpers import CPU, train_fold
from roi_helpers import write_crops
from spinegrade.errors import SpinegradeError
from spinegrade.grade.cells.batches import BatchReader
from spinegrade.grade.cells.cells import Cells, files_of_sets, load_cells, log_prior, loss_weights
from spinegrade.grade.cells.task import CellTask
from spinegrade.regions.lumbar_mri import FORAMINAL, SPINAL
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from spinegrade.tables.rois import ROIS
from spinegrade.training.record import read_weights


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> dict:
    return write_cohort(tmp_path_factory.mktemp("crops"))


@pytest.fixture(scope="module")
def cells(cohort) -> Cells:
    return load_cells(small().views, SHAPES, cohort["crops"])


def test_cells_know_their_crops(cells):
    assert len(cells.table) == 7 * 15, "7 studies, 5 canal and 10 foraminal cells each"
    canal = (cells.table["condition"] == SPINAL).to_numpy()
    assert (cells.rows["canal"][canal] >= 0).all() and (cells.rows["canal"][~canal] == -1).all()
    assert not cells.stores["canal"].flips_x.any() and cells.stores["canal_axial"].flips_x.all()
    # 0.5 mm of jitter at 0.5 mm a crop pixel (sagittal), at 1 mm (axial).
    np.testing.assert_allclose(cells.stores["canal"].shift_px, 1.0)
    np.testing.assert_allclose(cells.stores["canal_axial"].shift_px, 0.5)
    # A crop is found again whichever shard it lies in.
    store = cells.stores["foramen"]
    last = len(store.shift_px) - 1
    taken = store.take(np.array([last, 0]))
    np.testing.assert_array_equal(taken[0], store.arrays[1][-1])
    np.testing.assert_array_equal(taken[1], store.arrays[0][0])


def test_a_cell_without_one_of_its_views_is_kept(tmp_path):
    files = write_crops(tmp_path, "canal", [SPINAL], 3, seed=1)
    files |= write_crops(tmp_path, "canal_axial", [SPINAL], 2, axial=True, new_studies=0, seed=1)
    views = {SPINAL: ["canal", "canal_axial"]}
    few = load_cells(views, SHAPES, files)
    assert len(few.table) == 20 and (few.rows["canal_axial"] == -1).sum() == 10
    reads = {"canal": ["canal", "canal_axial"]}
    task = CellTask(few, small(reads=reads), SHAPES, ["s001", "s002"])
    batch = BatchReader(few, small(reads=reads)).read(np.arange(20)).seen(SHAPES, CPU)
    assert len(batch.crops["canal"]) == 20 and len(batch.crops["canal_axial"]) == 10
    assert batch.heads["canal_axial"].tolist() == [1] * 10
    assert task.network()(*batch).shape == (20, 3)


def test_prior_and_loss_weights_by_hand():
    table = pd.DataFrame(
        {
            "condition": [SPINAL] * 4 + [FORAMINAL] * 2,
            "level": ["l1_l2", "l1_l2", "l1_l2", "l4_l5", "l1_l2", "l1_l2"],
            "grade": pd.array([0, 0, 1, 2, 0, 1], "Int64"),
        }
    )
    # Canal shares (2, 1, 1) / 4; at L1/L2 n = (2, 1, 0), w = (1, 2, 4).
    q = np.array([2 + 6 / 4, 2 * (1 + 3 / 4), 4 * (0 + 3 / 4)])
    np.testing.assert_allclose(log_prior(table)[0, 0], np.log(q / q.sum()), rtol=1e-6)
    # Canal weights 1, 1, 2, 4 of 8; foraminal 1, 2 of 3; then the mean is 1.
    expected = np.array([1 / 8, 1 / 8, 2 / 8, 4 / 8, 1 / 3, 2 / 3]) * 3
    np.testing.assert_allclose(loss_weights(table), expected, rtol=1e-6)


def test_an_untrained_network_predicts_the_prior(cells):
    task = CellTask(cells, small(), SHAPES, ["s001", "s002", "s004", "s005"])
    logits = task.network().eval()(*task.reader.read(np.arange(30)).seen(SHAPES, CPU))
    prior = log_prior(task.table)
    assert len(task) == 60 and set(task.studies) == {"s001", "s002", "s004", "s005"}
    expected = prior[cells.condition[:30], cells.level[:30]]
    np.testing.assert_allclose(logits.detach(), expected, atol=1e-6)


def test_what_no_crop_taught_gets_no_row(tmp_path, cohort, cells, caplog):
    """Without a canal label both canal views answer every crop with one constant."""
    crops = dict(cohort["crops"])
    for name in ("canal", "canal_axial"):
        arrays, tables = crops[name]
        bare = [tmp_path / f"{name}_{number}.parquet" for number in range(len(tables))]
        for path, table in zip(bare, tables, strict=True):
            write_table(path, read_table(table, ROIS).assign(grade=pd.NA), ROIS)
        crops[name] = (arrays, bare)
    untaught, block = {**cohort, "crops": crops}, small_block(training={"epochs": 1})
    models = [train(tmp_path, untaught, block, fold) for fold in range(3)]
    out_of_fold, new = predict(tmp_path, untaught, block, models)
    assert len(out_of_fold) == 6 * 10 and len(new) == 10
    assert set(out_of_fold["condition"]) == set(new["condition"]) == {FORAMINAL}
    assert "35 cells get no row" in caplog.text
    # One view that was taught speaks for the cells that have it; the last cell loses its crop.
    rows = {name: places.copy() for name, places in cells.rows.items()}
    rows["canal"][-1] = -1
    shown = replace(cells, rows=rows).shown_by([(SPINAL, "canal"), (FORAMINAL, "foramen")])
    assert shown[:-1].all() and not shown[-1]


def test_a_small_network_learns_the_size_of_a_disc(tmp_path):
    crops = write_crops(tmp_path, "canal", [SPINAL], 36, new_studies=0)
    made = {"crops": crops, **write_tables(tmp_path, 36, 3, new_studies=0)}
    training = {"epochs": 12, "batch_size": 32, "validate_every": 5}
    block = small_block(reads={"canal": ["canal"]}, training=training)
    files, shapes = inputs_of(made, ["canal"]), given_of(["canal"])
    path = train_fold(tmp_path, KIND, "small", 0, block, files, shapes)
    history = pd.read_csv(path.with_suffix(".csv"))
    assert history["epoch"].tolist() == list(range(12))
    measured = history["held_out_loss"].notna()
    assert history.loc[measured, "epoch"].tolist() == [4, 9, 11], "every five, and at the end"
    learnable = load_cells({SPINAL: ["canal"]}, SHAPES, crops)
    folds = read_table(made["folds"], FOLDS)
    inside, outside = (
        CellTask(learnable, small(reads={"canal": ["canal"]}), SHAPES, list(studies))
        for studies in (folds["study"][folds["fold"] != 0], folds["study"][folds["fold"] == 0])
    )
    prior = np.exp(log_prior(inside.table))[learnable.condition, learnable.level][outside.places]
    chosen = prior[np.arange(len(prior)), outside.grades.numpy()]
    baseline = (-np.log(chosen) * outside.weights.numpy()).mean()
    assert history["held_out_loss"].iloc[-1] < 0.6 * baseline


@pytest.mark.parametrize("pooling", ["channels", "attention", "gru"])
def test_three_ways_to_pool_slices(tmp_path, cohort, cells, pooling):
    head = {"name": f"slice_{pooling}"} | ({} if pooling == "channels" else {"hidden": 8})
    block = small_block(model={**head, "dropout": 0.1}, training={"epochs": 1})
    paths = [train(tmp_path, cohort, block, fold) for fold in range(3)]
    out_of_fold, new = predict(tmp_path, cohort, block, paths)
    keys = ["study", "condition", "level", "side"]
    assert len(out_of_fold) == 6 * 15 and len(new) == 15
    assert set(new["study"]) == {"s006"} and new["fold"].isna().all()
    both = pd.concat([out_of_fold, new])[keys].sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(both, cells.table[keys])
    np.testing.assert_allclose(new[list(PROBABILITY_COLUMNS)].sum(axis=1), 1)
    assert "prior" in read_weights(paths[0])[0], "which prediction needs"
    other = small_block(model={**head, "encoder": {"backbone": "test_vit2"}})
    with pytest.raises(SpinegradeError, match="not the weights of small as configured"):
        predict(tmp_path, cohort, other, paths)


def test_the_digest_tells_every_crop_of_the_training(cells):
    def digest_of(given):
        return CellTask(given, small(), SHAPES, ["s000", "s001"]).digest()

    chosen = np.arange(20)
    before = digest_of(cells)
    assert digest_of(cells) == before
    store = cells.stores["canal"]
    row = cells.rows["canal"][chosen[cells.rows["canal"][chosen] >= 0][-1]]
    shard = int(np.searchsorted(store.starts, row, side="right")) - 1
    arrays = [np.array(array) for array in store.arrays]
    arrays[shard][row - store.starts[shard], 0, 0, 0] ^= 1
    stores = {**cells.stores, "canal": replace(store, arrays=arrays)}
    assert digest_of(replace(cells, stores=stores)) != before


def test_files_are_grouped_set_by_set():
    grouped = files_of_sets(["a", "b"], ["a0", "a1", "b0", "b1"], ["A0", "A1", "B0", "B1"])
    assert grouped == {"a": (["a0", "a1"], ["A0", "A1"]), "b": (["b0", "b1"], ["B0", "B1"])}
