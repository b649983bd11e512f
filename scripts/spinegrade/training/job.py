"""The one driver of training: a fold of any learner, from tables to weights.

A kind's module ``kind`` has

``STREAMS``: the prefix of its random streams;
``Settings(name, block)``: its settings, a ``learner_settings.LearnerSettings``;
``open_inputs(settings, job)``: tables read and stores mapped, once;
``task(settings, opened, studies)``: the ``Task`` of these studies' samples, empty where none has
what is to be learnt.
"""

from __future__ import annotations

import logging

import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.files import write_text
from spinegrade.runtime.torch_setup import prepare
from spinegrade.tables.files import read_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.studies import STUDIES
from spinegrade.training.checkpoint import Checkpoint, training_parts
from spinegrade.training.engine import Training
from spinegrade.training.fold_studies import fold_studies
from spinegrade.training.jobs import TrainJob
from spinegrade.training.kinds import kind_module
from spinegrade.training.record import Record, save_weights
from spinegrade.training.streams import Streams
from spinegrade.training.task import Task

_LOGGER = logging.getLogger("spinegrade")


def train_learner(job: TrainJob) -> None:
    """Train one fold and write its weights and history.

    It goes on from the checkpoint where that is of this same training, saves one at least every
    ``run.checkpoint_minutes``, and removes it once weights and history stand. Raises
    SpinegradeError where the fold is empty, or no study has what is to be learnt.
    """
    kind, run = kind_module(job.room, job.kind), job.run
    settings = kind.Settings(job.name, job.block)
    where = f"{job.room} learner {job.name}, fold {job.fold}"
    streams = Streams(run.seed, kind.STREAMS, job.name, job.fold)
    device = prepare(streams.start, run.math_threads, run.device)
    names = fold_studies(
        *(read_table(job.inputs[table.name][0], table) for table in (STUDIES, FOLDS)),
        job.fold,
        select=settings.select,
        inner_share=settings.inner_share,
        where=where,
        seed=run.seed,
        stream=(f"{kind.STREAMS}_inner", job.name),
    )
    opened, plan = kind.open_inputs(settings, job), settings.plan(job.fold)

    def task_of(studies: list[str], what: str) -> Task | None:
        if not studies:
            return None
        task = kind.task(settings, opened, studies)
        if not len(task):
            raise SpinegradeError(
                f"{where}: none of the {len(studies)} studies to {what} has both images and labels "
                "for it; check the delivered tables and the rejected ones, or use fewer folds",
                code="LEARNER_NO_SAMPLES",
            )
        return task

    learning = task_of(names.learning, "learn from")
    choosing = task_of(names.choosing, "choose the epoch by")
    watching = task_of(names.held_out, "measure it on") if plan.validate_every else None
    training = Training(learning, plan, streams, device, choosing, watching)
    tasks = [task for task in (learning, choosing, watching) if task is not None]
    parts = training_parts(
        code=run.code,
        settings={**settings.as_dict(), "fold": job.fold, "seed": run.seed},
        data="".join(task.digest() for task in tasks),
        math_threads=run.math_threads,
        device=device,
        precision=str(training.dtype).removeprefix("torch."),
    )
    _LOGGER.info(
        "%d samples of %d studies to learn from, %d to choose the epoch by",
        *(len(learning), len(set(learning.studies)), 0 if choosing is None else len(choosing)),
    )
    checkpoint = Checkpoint(job.checkpoint, parts, run.checkpoint_minutes)
    with checkpoint:
        outcome = training.run(checkpoint)
    record = Record(
        **{name: getattr(job, name) for name in ("name", "room", "kind", "fold")},
        code=run.code,
        select=settings.select,
        settings=settings.as_dict(),
        trained_on=tuple(learning.studies),
        chosen_on=() if choosing is None else tuple(choosing.studies),
        extra=learning.record(),
    )
    save_weights(job.weights, outcome.weights, record)
    write_text(job.history, pd.DataFrame(outcome.history).to_csv(index=False))
    checkpoint.remove()
