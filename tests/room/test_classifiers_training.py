"""Training and prediction by fold on made-up crops: it learns, resumes, and never leaks."""

from __future__ import annotations

import os
import pydoc
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from killing import Killed, killed_at
from roi_helpers import SHAPE, write_crops
from safetensors.torch import load_file
from spinegrade.errors import SpinegradeError
from spinegrade.grade.cells import train as train_module
from spinegrade.grade.cells.cells import Cells, files_of_sets, load_cells, log_prior, loss_weights
from spinegrade.grade.cells.network import load_network, save_network
from spinegrade.grade.cells.predict import predict
from spinegrade.grade.cells.settings import (
    CropShape,
    check_classifiers,
    settings_from_config,
)
from spinegrade.grade.cells.train import Trainer, digest_of, train_fold, weighted_losses
from spinegrade.names import FORAMINAL, PROBABILITY_COLUMNS, SPINAL, SUBARTICULAR
from spinegrade.training.average import MovingAverage

CPU = torch.device("cpu")
SHAPES = {"canal": SHAPE, "canal_axial": SHAPE, "foramen": SHAPE}


def settings(**more: object):
    block = {
        "views": {SPINAL: ["canal", "canal_axial"], FORAMINAL: ["foramen"]},
        "backbone": "test_resnet",
        "epochs": 2,
        "batch_size": 16,
        "validate_every": 2,
    }
    return settings_from_config("small", {**block, **more})


def make_cells(folder, studies: int = 6) -> Cells:
    files = write_crops(folder, "canal", [SPINAL], studies, seed=1)
    files |= write_crops(folder, "canal_axial", [SPINAL], studies, axial=True, seed=1)
    files |= write_crops(folder, "foramen", [FORAMINAL], studies, seed=2)
    return load_cells(settings().views, SHAPES, files)


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> Cells:
    return make_cells(tmp_path_factory.mktemp("crops"))


def train(folder, cells: Cells, fold: int, chosen=None, **more: object):
    train_fold(
        settings=chosen or settings(),
        shapes=SHAPES,
        cells=cells,
        fold=fold,
        weights=folder / f"{fold}.safetensors",
        history=folder / f"{fold}.csv",
        checkpoint=folder / f"{fold}.pt",
        seed=5,
        device="cpu",
        **{"threads": 1} | more,
    )
    return folder / f"{fold}.safetensors"


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
    chosen = settings(views=views)
    trainer = Trainer(chosen, SHAPES, few, 0, 1, CPU)
    batch = trainer.maker.make(np.arange(20))
    assert len(batch.crops["canal"]) == 20 and len(batch.crops["canal_axial"]) == 10
    assert batch.heads["canal_axial"].tolist() == [1] * 10
    assert trainer.network(*batch).shape == (20, 3)


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
    trainer = Trainer(settings(), SHAPES, cells, 0, 1, CPU)
    trainer.network.eval()
    logits = trainer.network(*trainer.maker.make(np.arange(30)))
    prior = log_prior(cells.table.iloc[trainer.inside])
    expected = prior[cells.condition[:30], cells.level[:30]]
    np.testing.assert_allclose(logits.detach(), expected, atol=1e-6)


def test_what_no_crop_taught_gets_no_row(tmp_path, cells, caplog):
    """Without a canal label both canal views answer every crop with one constant."""
    table = cells.table.copy()
    table.loc[table["condition"] == SPINAL, "grade"] = pd.NA
    untaught = replace(cells, table=table)
    models = [train(tmp_path, untaught, fold, settings(epochs=1)) for fold in range(3)]
    out_of_fold, new = predict(settings(), SHAPES, cells, models, seed=5, threads=1, device="cpu")
    assert len(out_of_fold) == 6 * 10 and len(new) == 10
    assert set(out_of_fold["condition"]) == set(new["condition"]) == {FORAMINAL}
    assert "35 cells get no row" in caplog.text
    # One view that was taught speaks for the cells that have it; the last cell loses its crop.
    rows = {name: places.copy() for name, places in cells.rows.items()}
    rows["canal"][-1] = -1
    shown = replace(cells, rows=rows).shown_by([(SPINAL, "canal"), (FORAMINAL, "foramen")])
    assert shown[:-1].all() and not shown[-1]


def test_a_small_network_learns_the_size_of_a_disc(tmp_path):
    files = write_crops(tmp_path, "canal", [SPINAL], 36, new_studies=0)
    views = {SPINAL: ["canal"]}
    learnable = load_cells(views, SHAPES, files)
    torch.set_num_threads(1)
    chosen = settings(views=views, epochs=12, batch_size=32)
    path = train(tmp_path, learnable, 0, chosen)
    history = pd.read_csv(tmp_path / "0.csv")
    assert history["epoch"].tolist() == list(range(1, 13))
    trainer = Trainer(chosen, SHAPES, learnable, 0, 1, CPU)
    table = learnable.table.iloc[trainer.outside]
    prior = np.exp(log_prior(learnable.table.iloc[trainer.inside]))
    baseline = prior[learnable.condition, learnable.level][trainer.outside]
    losses, weights = weighted_losses(baseline, table)
    assert history["held_out_loss"].iloc[-1] < 0.6 * (losses * weights).mean()
    assert path.exists() and not (tmp_path / "0.pt").exists()


@pytest.mark.parametrize("pooling", ["channels", "attention", "gru"])
def test_three_ways_to_pool_slices(tmp_path, cells, pooling):
    head = {} if pooling == "channels" else {"hidden": 8}
    chosen = settings(pooling=pooling, head=head, epochs=1, dropout=0.1)
    paths = [train(tmp_path, cells, fold, chosen) for fold in range(3)]
    out_of_fold, new = predict(chosen, SHAPES, cells, paths, 5, 1, "cpu")
    keys = ["study", "condition", "level", "side"]
    assert len(out_of_fold) == 6 * 15 and len(new) == 15
    assert set(new["study"]) == {"s006"} and new["fold"].isna().all()
    both = pd.concat([out_of_fold, new])[keys].sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(both, cells.table[keys])
    np.testing.assert_allclose(new[list(PROBABILITY_COLUMNS)].sum(axis=1), 1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cells) -> tuple[bytes, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    weights = train(folder, cells, 1, DISTURBED, code="a").read_bytes()
    return weights, (folder / "1.csv").read_bytes()


# 60 cells in batches of 16: 4 steps an epoch, 12 in all; one average a step. Dropout and dropped
# paths draw from the global generator, augmentation from the training's own.
DISTURBED = settings(epochs=3, dropout=0.3, drop_path=0.2)
MOMENTS = {
    "before the first step": ("spinegrade.training.average.MovingAverage.update", 1, 0),
    "in the first epoch": ("spinegrade.training.average.MovingAverage.update", 3, 2),
    "in the second epoch": ("spinegrade.training.average.MovingAverage.update", 7, 6),
    "at the last step": ("spinegrade.training.average.MovingAverage.update", 12, 11),
    "while a checkpoint is written": ("os.fsync", 6, 5),
    "while the held-out loss is measured": ("spinegrade.grade.cells.train.predict_cells", 1, 7),
    "before the weights are written": ("spinegrade.grade.cells.train.save_network", 1, 12),
    "between weights and history": ("pandas.DataFrame.to_csv", -1, 12),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_training_ends_in_the_same_bytes(
    tmp_path, cells, undisturbed, monkeypatch, moment
):
    place, call, kept = MOMENTS[moment]
    owner, name = pydoc.locate(place.rpartition(".")[0]), place.rpartition(".")[2]
    if call < 0:  # the last call, whose number the data digest decides
        with monkeypatch.context() as patch:
            calls = killed_at(patch, owner, name, -1)
            train(tmp_path, cells, 1, DISTURBED, code="a")
        call = len(calls)
        (tmp_path / "1.safetensors").unlink()
        (tmp_path / "1.csv").unlink()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, owner, name, call)
        train(tmp_path, cells, 1, DISTURBED, code="a", checkpoint_minutes=0)
    assert (tmp_path / "1.pt").exists() == (kept > 0) and not (tmp_path / "1.csv").exists()
    with monkeypatch.context() as patch:
        steps = killed_at(patch, MovingAverage, "update", -1)
        weights = train(tmp_path, cells, 1, DISTURBED, code="a").read_bytes()
    assert len(steps) == 12 - kept, "what was done and kept was done again"
    assert (weights, (tmp_path / "1.csv").read_bytes()) == undisturbed
    assert not (tmp_path / "1.pt").exists()


KILLS_ITSELF = """
import os, signal, sys
from pathlib import Path
import test_classifiers_training as tests
update, calls = tests.MovingAverage.update, []
def killed(*arguments):
    calls.append(1)
    if len(calls) == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    update(*arguments)
tests.MovingAverage.update = killed
folder = Path(sys.argv[1])
cells = tests.make_cells(folder)
tests.train(folder, cells, 1, tests.DISTURBED, code="a", checkpoint_minutes=0)
"""


def test_a_process_killed_outright_ends_in_the_same_bytes(tmp_path, cells, undisturbed, caplog):
    command = [sys.executable, "-c", KILLS_ITSELF, str(tmp_path)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": ":".join(sys.path)}, check=False)
    assert done.returncode == -signal.SIGKILL
    caplog.set_level("INFO")
    weights = train(tmp_path, cells, 1, DISTURBED, code="a").read_bytes()
    assert (weights, (tmp_path / "1.csv").read_bytes()) == undisturbed
    assert "goes on after epoch 1 of 3 and 2 of 4 steps" in caplog.text


def test_a_checkpoint_of_another_training_is_refused_by_name(tmp_path, cells, caplog, monkeypatch):
    def leave_a_checkpoint():
        with monkeypatch.context() as patch, pytest.raises(Killed):
            killed_at(patch, train_module, "save_network", 1)
            train(tmp_path, cells, 1, settings(epochs=1), code="a")

    other = replace(cells, table=cells.table.assign(grade=cells.table["grade"].shift(1).fillna(0)))
    for again, words in (
        ({"code": "b"}, "other code: training starts anew"),
        ({"chosen": settings(epochs=1, dropout=0.4)}, "settings (dropout 0.2, now 0.4)"),
        ({"cells": other}, "other data: training starts anew"),
        ({"threads": 2}, "other math_threads (1, now 2)"),
    ):
        caplog.clear()
        leave_a_checkpoint()
        given = {"cells": cells, "chosen": settings(epochs=1), "code": "a"} | again
        train(tmp_path, fold=1, **given)
        assert words in caplog.text


def test_the_digest_tells_every_crop_of_the_training(cells):
    chosen = np.arange(20)
    before = digest_of(cells, chosen)
    assert digest_of(cells, chosen) == before
    store = cells.stores["canal"]
    row = cells.rows["canal"][chosen[cells.rows["canal"][chosen] >= 0][-1]]
    shard = int(np.searchsorted(store.starts, row, side="right")) - 1
    arrays = [np.array(array) for array in store.arrays]
    arrays[shard][row - store.starts[shard], 0, 0, 0] ^= 1
    stores = {**cells.stores, "canal": replace(store, arrays=arrays)}
    assert digest_of(replace(cells, stores=stores), chosen) != before


def test_no_model_predicts_what_it_was_trained_on(tmp_path, cells):
    paths = [train(tmp_path, cells, fold) for fold in range(3)]
    table = cells.table.copy()
    # Study s001 was trained on by the model of fold 0; now it claims to be held out there.
    table.loc[table["study"] == "s001", "fold"] = 0
    with pytest.raises(SpinegradeError, match="trained on 1 studies that it is to predict, s001"):
        predict(settings(), SHAPES, replace(cells, table=table), paths, 5, 1, "cpu")
    with pytest.raises(SpinegradeError, match=r"no model for the folds \[2\]"):
        predict(settings(), SHAPES, cells, paths[:2], 5, 1, "cpu")


def test_weights_say_what_they_are(tmp_path, cells):
    trainer = Trainer(settings(), SHAPES, cells, 2, 1, CPU)
    assert trainer.trained_on == ["s000", "s001", "s003", "s004"]
    path = tmp_path / "w.safetensors"
    save_network(path, trainer.network, 2, trainer.trained_on)
    _, fold, studies = load_network(path, settings(), SHAPES, CPU)
    assert fold == 2 and studies == {"s000", "s001", "s003", "s004"}
    assert "prior" in load_file(path)
    with pytest.raises(SpinegradeError, match="not the weights of classifier small"):
        load_network(path, settings(backbone="test_vit2"), SHAPES, CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_training_on_a_device(tmp_path, cells, precision):
    trainer = Trainer(settings(precision_cuda=precision), SHAPES, cells, 0, 5, torch.device("cuda"))
    first = trainer.train_epoch()["train_loss"]
    trainer.restore(trainer.state())
    assert np.isfinite([first, trainer.train_epoch()["train_loss"]]).all()
    assert trainer.scaler.is_enabled() == (precision == "float16")


def test_an_empty_fold_is_refused(tmp_path, cells):
    with pytest.raises(SpinegradeError, match=r"fold 7 has no graded cell with a crop held out"):
        train(tmp_path, cells, 7)


def test_backbones_must_exist_and_views_fit_the_roi_sets():
    serves = {"canal": [SPINAL], "foramen": [FORAMINAL]}
    other = CropShape(3, 1, 32, 4)
    block = {"views": {SPINAL: ["canal"]}, "backbone": "test_resnet"}
    check_classifiers({"a": block}, SHAPES, serves)
    with pytest.raises(SpinegradeError, match=r"a\.backbone is 'resnet81'.*resnet18"):
        check_classifiers({"a": {**block, "backbone": "resnet81"}}, SHAPES, serves)
    with pytest.raises(SpinegradeError, match="names 'kanal': there is no such roi set"):
        check_classifiers({"a": {**block, "views": {SPINAL: ["kanal"]}}}, SHAPES, serves)
    with pytest.raises(SpinegradeError, match="'foramen', which crops only"):
        check_classifiers({"a": {**block, "views": {SUBARTICULAR: ["foramen"]}}}, SHAPES, serves)
    views = {SPINAL: ["canal"], FORAMINAL: ["foramen"]}
    shapes = {"canal": SHAPE, "foramen": other}
    with pytest.raises(SpinegradeError, match="share_encoder is true, but"):
        check_classifiers({"a": {**block, "views": views}}, shapes, serves)
    check_classifiers({"a": {**block, "views": views, "share_encoder": False}}, shapes, serves)


def test_files_are_grouped_set_by_set():
    grouped = files_of_sets(["a", "b"], ["a0", "a1", "b0", "b1"], ["A0", "A1", "B0", "B1"])
    assert grouped == {"a": (["a0", "a1"], ["A0", "A1"]), "b": (["b0", "b1"], ["B0", "B1"])}
