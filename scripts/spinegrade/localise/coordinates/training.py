"""The stage train_regressor: tables in, weights and history out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.localise.coordinates.level_task import LevelTask
from spinegrade.localise.coordinates.levels import digest_of, training_sequences
from spinegrade.localise.coordinates.network import Seen, save_regressor
from spinegrade.localise.coordinates.samples import training_samples
from spinegrade.localise.coordinates.settings import LEVELS, Settings
from spinegrade.localise.coordinates.task import PointTask
from spinegrade.localise.coordinates.trainer import RegressorTrainer, Task
from spinegrade.runtime.files import write_text
from spinegrade.runtime.seeds import stream_seed
from spinegrade.runtime.torch_setup import prepare
from spinegrade.tables import read_table, read_tables
from spinegrade.training.checkpoint import Checkpoint, training_parts
from spinegrade.training.fold_studies import fold_studies
from spinegrade.volumes import Stack, load_stacks

_LOGGER = logging.getLogger("spinegrade")


class Learnt(NamedTuple):
    """A task with the studies behind it, and a fingerprint of what they teach."""

    task: Task
    studies: tuple[str, ...]
    digest: str


def _learnt(
    settings: Settings, stacks: Sequence[Stack], landmarks: pd.DataFrame, studies: Sequence[str]
) -> Learnt:
    if settings.kind == LEVELS:
        sequences = training_sequences(settings, stacks, landmarks, studies)
        task = LevelTask(sequences, settings)
        return Learnt(task, tuple(one.study for one in sequences), digest_of(sequences))
    samples = training_samples(settings, stacks, landmarks, studies)
    return Learnt(PointTask(samples, settings), samples.studies, samples.digest())


def train_regressor(
    *,
    settings: Settings,
    fold: int,
    studies_path: str,
    folds_path: str,
    stacks_paths: Sequence[str],
    landmarks_paths: Sequence[str],
    weights_path: str,
    history_path: str,
    checkpoint_path: str,
    code: str,
    seed: int,
    math_threads: int,
    device: str,
    checkpoint_minutes: float,
) -> None:
    """Train a regressor on the studies outside ``fold`` and write its weights and history.

    It goes on from the checkpoint where that is of this same training, saves one at least every
    ``checkpoint_minutes``, and removes it once weights and history stand. Raises SpinegradeError
    where the fold is empty, or no study has landmarks to learn from.
    """
    streams = stream_seed(seed, "regressor", settings.name, fold)
    chosen = prepare(streams % 2**32, math_threads, device)
    names = fold_studies(
        read_table(studies_path, "studies"),
        read_table(folds_path, "folds"),
        fold,
        select=settings.select,
        inner_share=settings.inner_share,
        model=f"regressor {settings.name}",
        seed=seed,
        stream=("regressor_inner", settings.name),
    )
    landmarks = read_tables(list(landmarks_paths), "located_landmarks")
    stacks = load_stacks(stacks_paths)
    learning, choosing = (
        _learnt(settings, stacks, landmarks, studies)
        for studies in (names.learning, names.choosing)
    )
    for what, part in (("learn from", learning), ("choose the epoch by", choosing)):
        if not part.studies and (part is learning or settings.select != "last"):
            raise SpinegradeError(
                f"regressor {settings.name}, fold {fold}: no study to {what} has both a series and "
                f"landmarks for it ({', '.join(t.name for t in settings.targets)}); check "
                "train_label_coordinates.csv and the rejected tables, or use fewer folds"
            )
    trainer = RegressorTrainer(
        *(learning.task, settings, fold, seed, chosen),
        choosing.task if choosing.studies else None,
    )
    parts = training_parts(
        code=code,
        settings={**settings.as_dict(), "fold": fold, "seed": seed},
        data=learning.digest + choosing.digest,
        math_threads=math_threads,
        device=chosen,
        precision=str(trainer.dtype).removeprefix("torch."),
    )
    _LOGGER.info(
        "%d samples of %d studies to learn from, %d to choose the epoch by",
        *(len(learning.task), len(set(learning.studies)), len(choosing.task)),
    )
    checkpoint = Checkpoint(checkpoint_path, parts, checkpoint_minutes)
    with checkpoint:
        trainer.run(checkpoint)
    seen = Seen(fold, code, tuple(set(learning.studies)), tuple(set(choosing.studies)))
    save_regressor(weights_path, trainer.weights, settings, seen)
    write_text(history_path, pd.DataFrame(trainer.history).to_csv(index=False))
    checkpoint.remove()
