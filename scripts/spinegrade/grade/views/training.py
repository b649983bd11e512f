"""The stage train_two_stage: crops and tables in, weights and history out."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.grade.views.network import Seen, save_network
from spinegrade.grade.views.settings import CropShape, Settings
from spinegrade.grade.views.stores import StorePaths, samples_of
from spinegrade.grade.views.trainer import GraderTrainer
from spinegrade.runtime.files import write_text
from spinegrade.runtime.seeds import stream_seed
from spinegrade.runtime.torch_setup import prepare
from spinegrade.tables import read_table
from spinegrade.training.checkpoint import Checkpoint, training_parts
from spinegrade.training.fold_studies import fold_studies

_LOGGER = logging.getLogger("spinegrade")


def train_two_stage(
    *,
    settings: Settings,
    shapes: Mapping[str, CropShape],
    fold: int,
    studies_path: str,
    folds_path: str,
    labels_path: str,
    paths: StorePaths,
    weights_path: str,
    history_path: str,
    checkpoint_path: str,
    code: str,
    seed: int,
    math_threads: int,
    device: str,
    checkpoint_minutes: float,
) -> None:
    """Train a grader on the studies outside ``fold`` and write its weights and history.

    It goes on from the checkpoint where that is of this same training, saves one at least every
    ``checkpoint_minutes``, and removes it once weights and history stand. Raises SpinegradeError
    where the fold is empty, or no study has what is to be learnt.
    """
    streams = stream_seed(seed, "two_stage", settings.name, fold)
    chosen = prepare(streams % 2**32, math_threads, device)
    names = fold_studies(
        *(read_table(studies_path, "studies"), read_table(folds_path, "folds"), fold),
        select=settings.select,
        inner_share=settings.inner_share,
        model=f"grader {settings.name}",
        seed=seed,
        stream=("two_stage_inner", settings.name),
    )
    labels = read_table(labels_path, "labels")
    both = samples_of(settings, shapes, paths, [*names.learning, *names.choosing], labels)
    samples, choosing = both.of(names.learning), both.of(names.choosing)
    wanted = {"learn from": samples} | ({"choose by": choosing} if names.choosing else {})
    for what, part in wanted.items():
        if not (part.grades >= 0).any():
            raise SpinegradeError(
                f"grader {settings.name}, fold {fold}: no study to {what} has a crop and a grade; "
                "check train.csv and the crops' tables, or use fewer folds"
            )
    trainer = GraderTrainer(
        *(samples, settings, shapes, fold, seed, chosen), choosing if names.choosing else None
    )
    parts = training_parts(
        code=code,
        settings={**settings.as_dict(), "fold": fold, "seed": seed},
        data=both.digest(),
        math_threads=math_threads,
        device=chosen,
        precision=str(trainer.dtype).removeprefix("torch."),
    )
    _LOGGER.info(
        "%d rows of %d studies to learn from, %d to choose the epoch by",
        *(len(samples), len(set(samples.studies)), len(choosing) if names.choosing else 0),
    )
    checkpoint = Checkpoint(checkpoint_path, parts, checkpoint_minutes)
    with checkpoint:
        trainer.run(checkpoint)
    seen = Seen(
        grader=settings.name,
        architecture=settings.architecture,
        fold=fold,
        select=settings.select,
        code=code,
        trained_on=tuple(sorted(set(samples.studies))),
        chosen_on=tuple(sorted(set(choosing.studies))),
    )
    save_network(weights_path, trainer.weights, seen)
    write_text(history_path, pd.DataFrame(trainer.history).to_csv(index=False))
    checkpoint.remove()
