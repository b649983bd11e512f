"""Predictions: each study by the network that never saw it, new studies by all."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from spinegrade.errors import SpinegradeError
from spinegrade.grade.views.network import Seen, dtype_of, load_network, logits_of
from spinegrade.grade.views.samples import Samples
from spinegrade.grade.views.settings import CropShape, Settings
from spinegrade.grade.views.stores import StorePaths, samples_of
from spinegrade.grader_layout import cell_of
from spinegrade.names import PROBABILITY_COLUMNS
from spinegrade.runtime.seeds import stream_seed
from spinegrade.runtime.torch_setup import prepare
from spinegrade.tables import check_table, empty_table, read_table, write_table
from spinegrade.training.leaks import models_of, refuse_leak

_LOGGER = logging.getLogger("spinegrade")


class Model(NamedTuple):
    """A fold's network in evaluation mode, and what it has seen."""

    network: nn.Module
    seen: Seen


def load_models(
    paths: Sequence[str],
    settings: Settings,
    shapes: Mapping[str, CropShape],
    studies: pd.DataFrame,
    folds: Mapping[str, int] | None,
    device: torch.device,
) -> list[Model]:
    """The folds' networks, in the order of the folds.

    ``studies``: columns study and split, of all that are to be predicted. Raises SpinegradeError
    where a network has seen a study that it would predict, or a fold has no network.
    """
    models = [Model(*load_network(path, settings, shapes, device)) for path in paths]
    for path, model in zip(paths, models, strict=True):
        predicted = [
            row.study
            for row in studies.itertuples()
            if folds is None or row.split == "test" or folds.get(row.study) == model.seen.fold
        ]
        refuse_leak(path, model.seen.refused, predicted, "grader")
    by_fold = {model.seen.fold: model for model in models}
    missing = sorted(set((folds or {}).values()) - set(by_fold))
    if missing:
        raise SpinegradeError(
            f"grader {settings.name}: no weights for the folds {missing}; run train_two_stage for "
            "them"
        )
    return [by_fold[fold] for fold in sorted(by_fold)]


def predict(
    settings: Settings,
    shapes: Mapping[str, CropShape],
    samples: Samples,
    studies: pd.DataFrame,
    folds: Mapping[str, int] | None,
    weights: Sequence[str],
    device: torch.device,
) -> pd.DataFrame:
    """A "predictions" table of the cells that ``samples`` speak for.

    A study with a fold by that fold's network; others, and with ``folds`` None all, by the mean of
    the logits of all networks. Raises SpinegradeError as ``load_models`` does, and for a training
    study without a fold.
    """
    splits = dict(zip(studies["study"], studies["split"], strict=True))
    models = load_models(weights, settings, shapes, studies, folds, device)
    dtype = dtype_of(settings, device)
    groups: dict[str, tuple[list[str], list[Model]]] = {}
    for study in dict.fromkeys(samples.studies):
        chosen, source = models_of(study, splits[study], folds, models, settings.name)
        groups.setdefault(source, ([], chosen))[0].append(study)
    parts = [empty_table("predictions")]
    for names, chosen in groups.values():
        mine = samples.of(names)
        logits = np.mean(
            [
                logits_of(m.network, mine, settings, shapes, device, dtype, settings.tta)
                for m in chosen
            ],
            axis=0,
        )
        table = _table(settings.name, mine, logits)
        is_new = folds is None or splits[names[0]] == "test"
        parts.append(table.assign(fold=pd.NA if is_new else chosen[0].seen.fold))
    full = [part for part in parts if len(part)] or parts[:1]
    order = ["study", "condition", "side", "level"]
    joined = pd.concat(full, ignore_index=True).sort_values(order, ignore_index=True)
    return check_table(joined, "predictions")


def _table(grader: str, samples: Samples, logits: NDArray[np.float64]) -> pd.DataFrame:
    """Rows without ``fold`` of the cells that ``samples`` speak for, of ``logits`` (n, C, 3)."""
    powers = np.exp(logits - logits.max(axis=2, keepdims=True))
    probabilities = powers / powers.sum(axis=2, keepdims=True)
    places = samples.places()
    rows = []
    for row, column in np.argwhere(samples.speaks):
        cell = cell_of(*places[row, column].tolist())
        values = probabilities[row, column].tolist()
        rows.append(
            {"study": samples.studies[row], **cell._asdict()}
            | dict(zip(PROBABILITY_COLUMNS, values, strict=True))
            | {"classifier": grader}
        )
    return pd.DataFrame(rows)


def predict_two_stage(
    *,
    settings: Settings,
    shapes: Mapping[str, CropShape],
    studies_path: str,
    folds_path: str | None,
    paths: StorePaths,
    weights_paths: Sequence[str],
    out_of_fold_path: str,
    new_path: str,
    seed: int,
    math_threads: int,
    device: str,
) -> None:
    """Predict every study that has crops and write both tables.

    Without ``folds_path`` no study was trained on, and all get the mean over the networks.
    """
    chosen = prepare(stream_seed(seed, settings.name, "predict") % 2**32, math_threads, device)
    studies = read_table(studies_path, "studies")
    studies = studies[studies["problem"].isna()]
    folds = None
    if folds_path is not None:
        table = read_table(folds_path, "folds")
        folds = dict(zip(table["study"], table["fold"].astype(int), strict=True))
    samples = samples_of(settings, shapes, paths, studies["study"], None)
    found = predict(settings, shapes, samples, studies, folds, list(weights_paths), chosen)
    new = found["fold"].isna()
    _LOGGER.info(
        "%d studies predicted out of fold, %d new, %d without a crop",
        *(found[~new]["study"].nunique(), found[new]["study"].nunique()),
        len(set(studies["study"]) - set(samples.studies)),
    )
    write_table(out_of_fold_path, found[~new], "predictions")
    write_table(new_path, found[new], "predictions")
