"""Which small network reaches what, from the same crops in the same time.

Usage, after a run:
    python benchmarks/compare_backbones.py results/phantom_lumbar --seconds 60 test_resnet ...

Every network trains each fold for the same seconds of one core (as many epochs as fit, by
the time of a first epoch) and predicts out of fold; printed are the score, its ratio to the
cross-fitted prior and the seconds taken. Keys of the grader's block in the
config can be changed with --set key=value, such as training.epochs=20.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from dataclasses import replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import yaml

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "scripts"))

from spinegrade.crop.settings import roi_set_from_config  # noqa: E402
from spinegrade.crop_shape import CropShape  # noqa: E402
from spinegrade.grade.cells.cells import CELL_KEY, Cells, load_cells, log_prior  # noqa: E402
from spinegrade.grade.cells.looks import predict_cells  # noqa: E402
from spinegrade.grade.cells.settings import Settings  # noqa: E402
from spinegrade.grade.cells.task import CellTask  # noqa: E402
from spinegrade.metrics.rsna2024 import score  # noqa: E402
from spinegrade.regions.lumbar_mri import LUMBAR_MRI  # noqa: E402
from spinegrade.runtime.torch_setup import prepare  # noqa: E402
from spinegrade.settings import check_settings  # noqa: E402
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS  # noqa: E402
from spinegrade.training.engine import Training  # noqa: E402
from spinegrade.training.plan import Plan  # noqa: E402
from spinegrade.training.streams import Streams  # noqa: E402
from spinegrade.training.task import Moment  # noqa: E402

DEFAULT = ["test_resnet", "lcnet_050", "mobilenetv3_small_050", "mobilenetv4_conv_small_050"]
DEFAULT += ["resnet10t", "convnext_atto", "tf_efficientnet_lite0"]


def load(results: Path, config: dict, settings: Settings) -> tuple[Cells, dict[str, CropShape]]:
    """The crops of a run, for the grader's views."""
    sets = config["crop"]["sets"]
    shapes = {
        name: roi_set_from_config(name, sets[name], LUMBAR_MRI).shape for name in settings.roi_sets
    }
    files = {}
    for name in settings.roi_sets:
        tables = sorted((results / "crop" / name).glob("*/rois.parquet"))
        files[name] = ([path.with_name("rois.npy") for path in tables], tables)
    return load_cells(settings.views, shapes, files), shapes


def tabled(cells: pd.DataFrame, probabilities: np.ndarray) -> pd.DataFrame:
    """Cells with their probabilities, as the metric takes them."""
    table = cells[CELL_KEY].copy()
    for column, values in zip(PROBABILITY_COLUMNS, probabilities.T, strict=True):
        table[column] = values
    return table


class Trained(NamedTuple):
    """A training at its end, and the processor seconds of its second epoch."""

    training: Training
    second_epoch_s: float


def trained(
    settings: Settings,
    shapes: dict[str, CropShape],
    cells: Cells,
    studies: pd.Series,
    fold: int,
    plan: Plan,
    seed: int,
) -> Trained:
    """One fold trained on the cells of ``studies``."""
    task = CellTask(cells, settings, shapes, sorted(set(studies)))
    streams = Streams(seed, "cells", settings.name, fold)
    training = Training(task, plan, streams, torch.device("cpu"))
    ends = [time.process_time()]
    for parts in training.batches():
        training.train_step(parts)
        if training.step == 0:
            ends.append(time.process_time())
    return Trained(training, ends[2] - ends[1])


def measure(
    settings: Settings, shapes: dict[str, CropShape], cells: Cells, seconds: float, seed: int
) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Out-of-fold probabilities, the cross-fitted prior's, mean seconds and epochs a fold."""
    fold_of = cells.table["fold"].to_numpy(float, na_value=np.nan)
    folds = sorted(set(fold_of[~np.isnan(fold_of)]))
    out_of_fold = np.full((len(cells.table), 3), np.nan)
    prior = out_of_fold.copy()
    device = torch.device("cpu")
    taken = 0.0
    epochs = settings.plan(0).epochs
    for fold in map(int, folds):
        inside = cells.table["study"][~np.isnan(fold_of) & (fold_of != fold)]
        outside = np.flatnonzero(fold_of == fold)
        if seconds > 0 and fold == folds[0]:
            short = replace(settings.plan(fold), epochs=2, validate_every=None)
            probe = trained(settings, shapes, cells, inside, fold, short, seed)
            epochs = max(2, round(seconds / probe.second_epoch_s))
        plan = replace(settings.plan(fold), epochs=epochs, validate_every=None)
        prepare(seed, 1, "cpu")
        began = time.process_time()
        made = trained(settings, shapes, cells, inside, fold, plan, seed)
        taken += (time.process_time() - began) / len(folds)
        task, at = made.training.task, Moment(device, made.training.dtype)
        out_of_fold[outside] = predict_cells(
            made.training.average.model, task.reader, outside, shapes, at, settings
        )
        logs = log_prior(task.table).astype(float)
        plain = np.exp(logs) / np.exp(logs).sum(axis=-1, keepdims=True)
        prior[outside] = plain[cells.condition, cells.level][outside]
    return out_of_fold, prior, taken, epochs


def main() -> None:
    """Print one line a network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("backbones", nargs="*", default=DEFAULT)
    parser.add_argument("--config", type=Path, default=PROJECT / "workflow_config.yaml")
    parser.add_argument("--learner", default="small", help="a grader of cells")
    parser.add_argument("--seconds", type=float, default=60.0, help="a fold; 0: epochs as given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    config = check_settings(yaml.safe_load(arguments.config.read_text(encoding="utf-8")))
    name, block = arguments.learner, config["learners"][arguments.learner]
    for change in arguments.set:
        path, _, value = change.partition("=")
        *above, key = path.split(".")
        reduce(getitem, above, block)[key] = yaml.safe_load(value)
    for backbone in arguments.backbones:
        block["model"]["encoder"]["backbone"] = backbone
        settings = Settings(name, copy.deepcopy(block))
        cells, shapes = load(arguments.results, config, settings)
        found = measure(settings, shapes, cells, arguments.seconds, arguments.seed)
        known = (cells.table["grade"].notna() & cells.table["fold"].notna()).to_numpy()
        labels = cells.table.loc[known, [*CELL_KEY, "grade"]]
        mine = score(labels, tabled(cells.table[known], found[0][known]))
        prior = score(labels, tabled(cells.table[known], found[1][known]))
        print(
            f"{backbone:28s} score {mine.total:.3f} ratio {mine.total / prior.total:.3f} "
            f"spinal {mine.spinal / prior.spinal:.2f} "
            f"foraminal {mine.foraminal / prior.foraminal:.2f} "
            f"subarticular {mine.subarticular / prior.subarticular:.2f} "
            f"any severe {mine.any_severe / prior.any_severe:.2f} "
            f"{found[3]} epochs, {found[2]:.0f} s a fold",
            flush=True,
        )


if __name__ == "__main__":
    main()
