"""The stage train_one_stage: tables in, weights and history out."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.grade.volumes.network import Seen, save_network
from spinegrade.grade.volumes.prepared import prepared_volumes
from spinegrade.grade.volumes.samples import OneStageSamples, training_samples
from spinegrade.grade.volumes.settings import Settings
from spinegrade.grade.volumes.trainer import OneStageTrainer
from spinegrade.runtime.files import write_text
from spinegrade.runtime.seeds import stream_seed
from spinegrade.runtime.torch_setup import prepare
from spinegrade.tables import read_table, read_tables
from spinegrade.training.checkpoint import Checkpoint, training_parts
from spinegrade.training.fold_studies import fold_studies
from spinegrade.volumes import load_stacks

_LOGGER = logging.getLogger("spinegrade")


def digest_of(samples: OneStageSamples) -> str:
    """Fingerprint of all that a training learns from, or chooses by."""
    digest = hashlib.sha256(repr((samples.studies, samples.series, samples.stacks)).encode())
    for array in (samples.points, samples.known, samples.grades, *samples.volumes):
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def train_one_stage(
    *,
    settings: Settings,
    fold: int,
    studies_path: str,
    folds_path: str,
    stacks_paths: Sequence[str],
    volumes_paths: Sequence[str],
    landmarks_paths: Sequence[str],
    labels_path: str,
    weights_path: str,
    history_path: str,
    checkpoint_path: str,
    code: str,
    seed: int,
    math_threads: int,
    device: str,
    checkpoint_minutes: float,
) -> None:
    """Train a network on the studies outside ``fold`` and write its weights and history.

    ``volumes_paths``: what ``prepare_volumes`` wrote, in the order of ``stacks_paths``, mapped and
    not held in memory; without them canvases are made here and held. It goes on from the
    checkpoint where that is of this same training, saves one at least every ``checkpoint_minutes``,
    and removes it once weights and history stand. Raises SpinegradeError where the fold is
    empty, or no study has what is to be learnt.
    """
    streams = stream_seed(seed, "one_stage", settings.name, fold)
    chosen = prepare(streams % 2**32, math_threads, device)
    names = fold_studies(
        *(read_table(studies_path, "studies"), read_table(folds_path, "folds"), fold),
        select=settings.select,
        inner_share=settings.inner_share,
        model=f"network {settings.name}",
        seed=seed,
        stream=("one_stage_inner", settings.name),
    )
    stacks = load_stacks(stacks_paths)
    landmarks = read_tables(list(landmarks_paths), "located_landmarks")
    labels = read_table(labels_path, "labels")
    volumes = prepared_volumes(stacks_paths, volumes_paths, settings)
    both = training_samples(
        *(settings.target, stacks, landmarks, labels, [*names.learning, *names.choosing]),
        canvas=settings.canvas_px,
        fold=fold,
        partial_studies=settings.partial_studies,
        volumes=volumes,
        network=settings.name,
    )
    samples, choosing = both.of(names.learning), both.of(names.choosing)
    for what, part in (("learn from", samples), ("choose the epoch by", choosing)):
        wanted = part is samples or settings.select != "last"
        if wanted and not (part.grades >= 0).any():
            raise SpinegradeError(
                f"network {settings.name}, fold {fold}: no study to {what} has landmarks and a "
                f"grade for {settings.target}; check train.csv, or use fewer folds"
            )
    trainer = OneStageTrainer(
        *(samples, settings, fold, seed, chosen), choosing if len(choosing) else None
    )
    parts = training_parts(
        code=code,
        settings={**settings.as_dict(), "fold": fold, "seed": seed},
        data=digest_of(both),
        math_threads=math_threads,
        device=chosen,
        precision=str(trainer.dtype).removeprefix("torch."),
    )
    _LOGGER.info(
        "%d volumes of %d slices to learn from, %d to choose the epoch by",
        *(len(samples), sum(samples.lengths), len(choosing)),
    )
    checkpoint = Checkpoint(checkpoint_path, parts, checkpoint_minutes)
    with checkpoint:
        trainer.run(checkpoint)
    seen = Seen(
        network=settings.name,
        target=settings.target,
        fold=fold,
        select=settings.select,
        code=code,
        trained_on=tuple(samples.studies),
        chosen_on=tuple(choosing.studies),
    )
    save_network(weights_path, trainer.weights, seen)
    write_text(history_path, pd.DataFrame(trainer.history).to_csv(index=False))
    checkpoint.remove()
