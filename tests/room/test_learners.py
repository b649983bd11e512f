"""What holds for every kind of learner: exact resuming, a record of what was seen, no leak."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cell_helpers
import heatmap_helpers
import one_stage_helpers
import pandas as pd
import pytest
import regressor_helpers
import torch
import two_stage_helpers
from killing import Killed, killed_at, told_to_end_at
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from spinegrade.errors import SpinegradeError
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.named import kind_named
from spinegrade.tables.rois import ROIS
from spinegrade.training import job
from spinegrade.training.average import MovingAverage
from spinegrade.training.record import read_weights

UPDATE = (MovingAverage, "update")


class Kind(NamedTuple):
    """How a kind is tried: its cohort, a block with chance in it, its jobs.

    ``train`` (folder, cohort, block, fold, **run) gives the weights' path; ``predict`` (folder,
    cohort, block, weights). ``steps`` an epoch of fold 0, of two epochs. ``labels`` names the
    table that it learns from, which may be emptied.
    """

    write: Callable[[Path], dict[str, Any]]
    block: dict[str, Any]
    train: Callable[..., Any]
    predict: Callable[..., Any]
    steps: int
    labels: str


def _points(folder: Path, cohort: Any, block: Any, weights: list[str]) -> Any:
    return regressor_helpers.infer(folder, cohort, weights, block)


def _crops_without_grades(cohort: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same cohort with crops whose tables hold no grade."""
    crops = {}
    for name, (arrays, tables) in cohort["crops"].items():
        bare = [folder / f"{name}_{number}.parquet" for number in range(len(tables))]
        for path, table in zip(bare, tables, strict=True):
            write_table(path, read_table(table, ROIS).assign(grade=pd.NA), ROIS)
        crops[name] = (arrays, bare)
    return {**cohort, "crops": crops}


DROPPED = {"backbone": "test_resnet", "drop_path": 0.3}
KINDS = {
    "heatmap": Kind(
        lambda folder: heatmap_helpers.write_canal_cohort(folder, studies=12),
        heatmap_helpers.small_block(epochs=2),
        heatmap_helpers.train,
        heatmap_helpers.infer,
        3,
        "located_landmarks",
    ),
    "coordinates": Kind(
        lambda folder: regressor_helpers.write_spines(folder, 8),
        regressor_helpers.small_block(training={"batch_size": 2}),
        regressor_helpers.train,
        _points,
        2,
        "located_landmarks",
    ),
    "cells": Kind(
        cell_helpers.write_cohort,
        cell_helpers.small_block(model={"dropout": 0.3, "encoder": {"drop_path": 0.2}}),
        cell_helpers.train,
        cell_helpers.predict,
        4,
        "crops",
    ),
    "views": Kind(
        two_stage_helpers.write_cohort,
        two_stage_helpers.small_block(
            model={"encoder": DROPPED, "dropout": 0.3},
            augment={"mixup": 0.5},
            training={"batch_size": 2},
        ),
        two_stage_helpers.train,
        two_stage_helpers.predict,
        2,
        "labels",
    ),
    "volumes": Kind(
        lambda folder: one_stage_helpers.write_cohort(folder, "foraminal", 8),
        one_stage_helpers.small_block(
            "foraminal", model={"encoder": DROPPED}, training={"batch_size": 2}
        ),
        one_stage_helpers.train,
        one_stage_helpers.predict,
        2,
        "labels",
    ),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module", params=KINDS)
def tried(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Kind, dict[str, Any], list[Path]]:
    """A kind, its cohort, and the weights of its folds."""
    kind = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    cohort = kind.write(folder)
    folds = sorted(read_table(cohort["folds"], FOLDS)["fold"].unique())
    (folder / "run").mkdir()
    made = [Path(kind.train(folder / "run", cohort, kind.block, int(fold))) for fold in folds]
    return kind, cohort, made


def test_a_training_that_is_stopped_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: tuple
) -> None:
    """Killed in the second epoch, before weights or history are written, or told to end."""
    kind, cohort, made = tried
    expected = made[0].read_bytes(), made[0].with_suffix(".csv").read_bytes()
    moments = {
        "killed": (killed_at, *UPDATE, kind.steps + 2, kind.steps + 1),
        "before_the_weights": (killed_at, job, "save_weights", 1, 2 * kind.steps),
        "before_the_history": (killed_at, job, "write_text", 1, 2 * kind.steps),
        "told_to_end": (told_to_end_at, *UPDATE, 1, 1),
        "told_at_an_end": (told_to_end_at, *UPDATE, kind.steps, kind.steps),
    }
    before = signal.getsignal(signal.SIGTERM)
    for moment, (stop, owner, name, call, kept) in moments.items():
        (folder := tmp_path / moment).mkdir()
        # The usual checkpoint would be after five minutes, or after an epoch.
        minutes = 0.0 if stop is killed_at else 5.0
        with monkeypatch.context() as patch, pytest.raises(Killed):
            stop(patch, owner, name, call)
            kind.train(folder, cohort, kind.block, 0, checkpoint_minutes=minutes)
        assert list(folder.glob("*.pt")) and not list(folder.glob("*.csv"))
        assert signal.getsignal(signal.SIGTERM) == before
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        with monkeypatch.context() as patch:
            steps = killed_at(patch, *UPDATE, -1)
            again = Path(kind.train(folder, cohort, kind.block, 0))
        assert len(steps) == 2 * kind.steps - kept, f"{moment}: what was kept was done again"
        assert (again.read_bytes(), again.with_suffix(".csv").read_bytes()) == expected, moment
        assert not list(folder.glob("*.pt"))


def test_the_record_says_what_was_seen(tried: tuple) -> None:
    _, cohort, made = tried
    folds = read_table(cohort["folds"], FOLDS)
    for fold, path in enumerate(made):
        record = read_weights(path)[1]
        outside = tuple(sorted(folds.loc[folds["fold"] != fold, "study"]))
        assert record.trained_on == outside and record.chosen_on == () and record.fold == fold
        assert record.refused == set(outside) and record.code == "a"
        with safe_open(path, "pt") as file:
            assert list(file.metadata()) == ["spinegrade"], "one key, whose order cannot differ"
        history = pd.read_csv(path.with_suffix(".csv"))
        assert history["epoch"].tolist() == [0, 1]
        assert {"learning_rate", "loss", "choice_loss"} <= set(history.columns)


def test_a_study_that_a_model_has_seen_is_refused(tmp_path: Path, tried: tuple) -> None:
    kind, cohort, made = tried
    weights = [str(path) for path in made]
    kind.predict(tmp_path, cohort, kind.block, weights)
    # The folds change after training: a study of fold 1 is now of fold 0, whose model saw it.
    folds = read_table(cohort["folds"], FOLDS)
    study = folds.loc[folds["fold"] == 1, "study"].iloc[0]
    folds.loc[folds["study"] == study, "fold"] = 0
    write_table(tmp_path / "folds.parquet", folds, FOLDS)
    changed = {**cohort, "folds": str(tmp_path / "folds.parquet")}
    with pytest.raises(SpinegradeError, match=rf"trained on 1 studies .* {study} among them"):
        kind.predict(tmp_path, changed, kind.block, weights)
    with pytest.raises(SpinegradeError, match=r"there are models of the folds \[0"):
        kind.predict(tmp_path, cohort, kind.block, weights[:-1])


def test_a_fold_with_nothing_to_learn_from_is_refused(tmp_path: Path, tried: tuple) -> None:
    kind, cohort, _ = tried
    if kind.labels == "crops":
        bare = _crops_without_grades(cohort, tmp_path)
    else:
        of_kind = kind_named(kind.labels)
        table = read_table(cohort[kind.labels], of_kind)
        empty = table.assign(grade=pd.NA) if kind.labels == "labels" else table.iloc[:0]
        write_table(tmp_path / "empty.parquet", empty, of_kind)
        bare = {**cohort, kind.labels: str(tmp_path / "empty.parquet")}
    with pytest.raises(SpinegradeError, match=r"learner \w+, fold 1: none of the \d+ studies to"):
        kind.train(tmp_path, bare, kind.block, 1)


def test_weights_of_another_learner_or_without_a_record_are_refused(
    tmp_path: Path, tried: tuple
) -> None:
    kind, cohort, made = tried
    other = tmp_path / "w.safetensors"
    other.write_bytes(b"nothing")
    with pytest.raises(SpinegradeError, match="cannot be read"):
        read_weights(other)
    save_file(load_file(made[1]), other)
    with pytest.raises(SpinegradeError, match="does not say what it was trained on"):
        read_weights(other)
    other.write_bytes(made[1].read_bytes())
    with pytest.raises(SpinegradeError, match=r"models of the folds \[1, 1"):
        kind.predict(tmp_path, cohort, kind.block, [str(other), *map(str, made[1:])])


def test_a_checkpoint_of_another_training_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, for the kind that trains fastest: all go through the same driver."""
    kind = KINDS["heatmap"]
    cohort = kind.write(tmp_path)
    landmarks = read_table(cohort["located_landmarks"], LOCATED_LANDMARKS)
    fewer = tmp_path / "fewer.parquet"
    write_table(fewer, landmarks[landmarks["study"] != "s03"], LOCATED_LANDMARKS)
    once, other = (heatmap_helpers.small_block(epochs=1, batch_size=size) for size in (3, 6))
    often = heatmap_helpers.small_block(epochs=1, batch_size=3, checkpoint_epochs=9)
    cases = (
        ({"code": "b"}, cohort, once, "other code: training starts anew"),
        ({}, cohort, other, "settings (training.batch_size 3, now 6)"),
        ({}, {**cohort, "located_landmarks": str(fewer)}, once, "other data: training starts"),
        ({"math_threads": 2}, cohort, once, "other math_threads (1, now 2)"),
        # How often is saved makes no other training.
        ({"checkpoint_minutes": 60}, cohort, often, "goes on after epoch 1 of 1"),
    )
    caplog.set_level("INFO")
    for run, given, block, words in cases:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            killed_at(patch, job, "save_weights", 1)
            kind.train(tmp_path, cohort, once, 0)
        caplog.clear()
        kind.train(tmp_path, given, block, 0, **run)
        assert words in caplog.text


STOPPED = """
import json, os, signal, sys
from pathlib import Path
import heatmap_helpers as helpers
from spinegrade.training import job
from spinegrade.training.average import MovingAverage
update, calls = MovingAverage.update, []
def stopped(*arguments):
    calls.append(1)
    if len(calls) == 5:
        os.kill(os.getpid(), getattr(signal, sys.argv[3]))
    update(*arguments)
MovingAverage.update = stopped
folder, cohort = Path(sys.argv[1]), json.loads(sys.argv[2])
block, minutes = helpers.small_block(epochs=2), float(sys.argv[4])
helpers.train(folder, cohort, block, 0, checkpoint_minutes=minutes)
"""


@pytest.mark.parametrize(("name", "minutes", "done"), [("SIGKILL", 0, 1), ("SIGTERM", 5, 2)])
def test_a_process_that_is_ended_goes_on_in_the_same_bytes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, minutes: int, done: int
) -> None:
    """Killed outright, or told to end and then ended by that signal, with its state kept."""
    kind = KINDS["heatmap"]
    cohort = kind.write(tmp_path)
    (folder := tmp_path / "run").mkdir()
    command = [sys.executable, "-c", STOPPED, str(folder), json.dumps(cohort), name, str(minutes)]
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == -getattr(signal, name), ended.stderr
    told = f"told to end by SIGTERM; kept before: {folder / 't2_0.pt'}" in ended.stderr
    assert told == (name == "SIGTERM")
    (whole := tmp_path / "whole").mkdir()
    expected = kind.train(whole, cohort, kind.block, 0).read_bytes()
    caplog.set_level("INFO")
    assert kind.train(folder, cohort, kind.block, 0).read_bytes() == expected
    assert f"goes on after epoch 1 of 2 and {done} of 3 steps" in caplog.text
