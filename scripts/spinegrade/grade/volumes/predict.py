"""Grades and points: each study by the network that never saw it, new studies by all."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from spinegrade.errors import SpinegradeError
from spinegrade.grade.volumes.answers import Answer, look, mean_answer
from spinegrade.grade.volumes.network import Seen, dtype_of, load_network
from spinegrade.grade.volumes.prepared import prepared_volumes
from spinegrade.grade.volumes.reading import read_packed
from spinegrade.grade.volumes.samples import new_samples, stacks_by_study
from spinegrade.grade.volumes.settings import Settings
from spinegrade.grade.volumes.store import Volumes
from spinegrade.keypoint_rows import keypoint_table, no_series, point_rows, rejected_table
from spinegrade.names import PROBABILITY_COLUMNS
from spinegrade.runtime.progress import progress
from spinegrade.runtime.seeds import stream_seed
from spinegrade.runtime.torch_setup import prepare
from spinegrade.tables import check_table, empty_table, read_table, write_table
from spinegrade.training.leaks import models_of, refuse_leak
from spinegrade.volumes import Stack, load_stacks

_LOGGER = logging.getLogger("spinegrade")


class Model(NamedTuple):
    """A fold's network in evaluation mode, and what it has seen."""

    network: nn.Module
    seen: Seen


class Tables(NamedTuple):
    """``predictions`` and ``keypoints`` of all studies, tables of those kinds."""

    predictions: pd.DataFrame
    keypoints: pd.DataFrame


class Predicted(NamedTuple):
    """``final`` as ``tta`` says, ``plain`` without it (empty where both are one), ``rejected``."""

    final: Tables
    plain: Tables
    rejected: pd.DataFrame


def load_models(
    paths: Sequence[str],
    settings: Settings,
    studies: pd.DataFrame,
    folds: Mapping[str, int] | None,
    device: torch.device,
) -> list[Model]:
    """The folds' networks, in the order of the folds.

    ``studies``: columns study and split, of all that are to be predicted. Raises SpinegradeError
    where a network has seen a study that it would predict, or a fold has no network.
    """
    models = [Model(*load_network(path, settings, device)) for path in paths]
    by_fold = {model.seen.fold: model for model in models}
    fold_of = dict.fromkeys(studies["study"]) | dict(folds or {})
    is_new = dict(zip(studies["study"], studies["split"] == "test", strict=True))
    for path, model in zip(paths, models, strict=True):
        predicted = [
            study
            for study in studies["study"]
            if folds is None or is_new[study] or fold_of[study] == model.seen.fold
        ]
        refuse_leak(path, model.seen.refused, predicted, "network")
    if folds is None:
        return models
    missing = sorted(set(folds.values()) - set(by_fold))
    if missing:
        raise SpinegradeError(
            f"network {settings.name}: no weights for the folds {missing}; run train_one_stage for "
            "them"
        )
    return [by_fold[fold] for fold in sorted(by_fold)]


def predict(
    settings: Settings,
    stacks: Sequence[Stack],
    studies: pd.DataFrame,
    folds: Mapping[str, int] | None,
    weights: Sequence[str],
    device: torch.device,
    volumes: Volumes | None = None,
) -> Predicted:
    """Predict every study of ``studies`` (columns study and split).

    A study with a fold by that fold's network, others, and with ``folds`` None all, by the mean
    over all networks. Grades are the mean over all of a study's stacks of the target's kind, points
    those of the stack where the network is surest. A study without such a stack is rejected.
    Raises SpinegradeError as ``load_models`` does.
    """
    models = load_models(weights, settings, studies, folds, device)
    usable = stacks_by_study(stacks, settings.points)
    splits = dict(zip(studies["study"], studies["split"], strict=True))
    absent = sorted(set(splits) - set(usable))
    rejected = rejected_table([no_series(study, settings.points) for study in absent])
    present = sorted(set(splits) & set(usable))
    final, plain = _Rows(settings, folds), _Rows(settings, folds)
    if present:
        samples = new_samples(
            *(settings.target, stacks, present),
            canvas=settings.canvas_px,
            every_stack=True,
            volumes=volumes,
            network=settings.name,
        )
        by_key = {(s.study, s.series, s.stack): s for s in stacks}
        dtype = dtype_of(settings, device)
        places = groupby(range(len(samples)), lambda place: samples.studies[place])
        for study, rows in progress(places, f"Predicting with {settings.name}", len(present)):
            chosen, source = models_of(study, splits[study], folds, models, settings.name)
            found = []
            for place in rows:
                packed = read_packed(samples, np.array([place]), False)
                looks = [
                    look(model.network, packed.slices, packed.lengths, settings, device, dtype)
                    for model in chosen
                ]
                stack = by_key[study, samples.series[place], samples.stacks[place]]
                found.append((stack, samples.to_pixels[place], looks))
            final.add(
                [(s, a, mean_answer([one.final for one in seen])) for s, a, seen in found], source
            )
            if settings.tta != "none":
                plain.add(
                    [(s, a, mean_answer([one.plain for one in seen])) for s, a, seen in found],
                    source,
                )
    return Predicted(final.tables(), plain.tables(), rejected)


class _Rows:
    """Rows of predictions and keypoints tables, study by study."""

    def __init__(self, settings: Settings, folds: Mapping[str, int] | None) -> None:
        self.settings, self.folds = settings, folds
        self.predictions: list[dict[str, Any]] = []
        self.keypoints: list[dict[str, Any]] = []

    def add(self, answers: list[tuple[Stack, np.ndarray, Answer]], source: str) -> None:
        """The answers for all stacks of one study; each holds one volume."""
        cells = self.settings.points.points
        grades = np.mean([answer.grades[0] for _, _, answer in answers], axis=0)
        study = answers[0][0].study
        fold = None if source.endswith(":mean") else self.folds[study]
        for cell, values in zip(cells, grades / grades.sum(axis=1, keepdims=True), strict=True):
            self.predictions.append(
                {"study": study, **cell._asdict()}
                | dict(zip(PROBABILITY_COLUMNS, values.tolist(), strict=True))
                | {"classifier": self.settings.name, "fold": fold}
            )
        stack, to_pixels, surest = max(answers, key=lambda one: one[2].confidence.mean())
        self.keypoints += point_rows(
            stack, to_pixels, surest.points[0], surest.confidence[0], cells, source
        )

    def tables(self) -> Tables:
        """All rows as checked tables."""
        predictions = empty_table("predictions")
        if self.predictions:
            predictions = check_table(pd.DataFrame(self.predictions), "predictions")
        return Tables(predictions, keypoint_table(self.keypoints))


def predict_one_stage(
    *,
    settings: Settings,
    studies_path: str,
    folds_path: str | None,
    stacks_paths: Sequence[str],
    volumes_paths: Sequence[str],
    weights_paths: Sequence[str],
    out_of_fold_path: str,
    new_path: str,
    keypoints_path: str,
    plain_path: str,
    plain_keypoints_path: str,
    rejected_path: str,
    seed: int,
    math_threads: int,
    device: str,
) -> None:
    """Predict every usable study and write the tables.

    Without ``folds_path`` no study was trained on, and all get the mean over the networks.
    ``plain_path`` and ``plain_keypoints_path`` take the out-of-fold work without test-time
    augmentation, empty where none was asked for; the other tables follow ``tta``.
    """
    chosen = prepare(stream_seed(seed, settings.name, "predict") % 2**32, math_threads, device)
    studies = read_table(studies_path, "studies")
    studies = studies[studies["problem"].isna()]
    folds = None
    if folds_path is not None:
        table = read_table(folds_path, "folds")
        folds = dict(zip(table["study"], table["fold"].astype(int), strict=True))
    found = predict(
        *(settings, load_stacks(stacks_paths), studies, folds, list(weights_paths), chosen),
        prepared_volumes(stacks_paths, volumes_paths, settings),
    )
    final, plain = found.final, found.plain
    new = final.predictions["fold"].isna()
    _LOGGER.info(
        "%d studies predicted out of fold, %d new, %d without a series",
        *(final.predictions[~new]["study"].nunique(), final.predictions[new]["study"].nunique()),
        len(found.rejected),
    )
    write_table(out_of_fold_path, final.predictions[~new], "predictions")
    write_table(new_path, final.predictions[new], "predictions")
    write_table(keypoints_path, final.keypoints, "keypoints")
    write_table(plain_path, plain.predictions[plain.predictions["fold"].notna()], "predictions")
    write_table(plain_keypoints_path, plain.keypoints, "keypoints")
    write_table(rejected_path, found.rejected, "rejected")
