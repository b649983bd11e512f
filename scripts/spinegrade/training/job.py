"""The one driver: a fold of any learner from tables to weights, and predictions to tables.

A kind is the module ``spinegrade.<room>.<kind>.kind``, found by its name. It has

``STREAMS``: the prefix of its random streams;
``settings_of(name, block)``: its settings, with ``select``, ``inner_share`` and ``as_dict()``;
``plan_of(settings, fold)``: the ``Plan`` of a fold;
``open_inputs(settings, job)``: tables read and stores mapped, once;
``task(settings, opened, studies)``: the ``Task`` of these studies' samples, empty where none has
what is to be learnt;
``network_of(settings, opened, record, weights)``: the network of stored weights, built without
looking up pretrained ones;
``predict(settings, opened, models, studies)``: what the models say of the studies.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import pandas as pd
import torch

from spinegrade.errors import SpinegradeError
from spinegrade.keypoint_rows import write_found
from spinegrade.runtime.files import write_text
from spinegrade.runtime.seeds import stream_seed
from spinegrade.runtime.torch_setup import prepare
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.tables.studies import STUDIES
from spinegrade.training.checkpoint import Checkpoint, training_parts
from spinegrade.training.engine import Training
from spinegrade.training.fold_models import Cohort, FoldModels, read_cohort
from spinegrade.training.fold_studies import fold_studies
from spinegrade.training.jobs import PredictJob, TrainJob
from spinegrade.training.kinds import kind_module
from spinegrade.training.record import FoldModel, Record, load_model, save_weights
from spinegrade.training.streams import Streams
from spinegrade.training.task import Task

_LOGGER = logging.getLogger("spinegrade")


def train_learner(job: TrainJob) -> None:
    """Train one fold and write its weights and history.

    It goes on from the checkpoint where that is of this same training, saves one at least every
    ``run.checkpoint_minutes``, and removes it once weights and history stand. Raises
    SpinegradeError where the fold is empty, or no study has what is to be learnt.
    """
    kind, run = kind_of(job), job.run
    settings = kind.settings_of(job.name, job.block)
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
    opened, plan = kind.open_inputs(settings, job), kind.plan_of(settings, job.fold)

    def task_of(studies: list[str], what: str) -> Task | None:
        if not studies:
            return None
        task = kind.task(settings, opened, studies)
        if not len(task):
            raise SpinegradeError(
                f"{where}: none of the {len(studies)} studies to {what} has both images and labels "
                "for it; check the delivered tables and the rejected ones, or use fewer folds"
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


def infer_localiser(job: PredictJob) -> None:
    """Find the points of every usable study of one shard, each by models that never saw it.

    What is not found is counted in the log and listed in the rejected table. Raises
    SpinegradeError as ``FoldModels`` does.
    """
    kind, settings, cohort, device = _prediction(job)
    opened = kind.open_inputs(settings, job)
    models = models_of(kind, settings, opened, job, cohort, device)
    found = kind.predict(settings, opened, models, cohort.studies)
    write_found(job.name, *found, job.outputs["keypoints"], job.outputs["rejected"])


def predict_grader(job: PredictJob) -> None:
    """Grade every usable study of the cohort, each by models that never saw it.

    Raises SpinegradeError as ``FoldModels`` does.
    """
    kind, settings, cohort, device = _prediction(job)
    opened = kind.open_inputs(settings, job)
    models = models_of(kind, settings, opened, job, cohort, device)
    found = kind.predict(settings, opened, models, cohort.studies)
    new = found.predictions["fold"].isna()
    _LOGGER.info(
        "%d studies predicted out of fold, %d new, %d without a prediction",
        *(found.predictions[part]["study"].nunique() for part in (~new, new)),
        len(set(cohort.studies) - set(found.predictions["study"])),
    )
    write_table(job.outputs["out_of_fold"], found.predictions[~new], PREDICTIONS)
    write_table(job.outputs["new"], found.predictions[new], PREDICTIONS)
    for name, (table, of_kind) in found.tables.items():
        write_table(job.outputs[name], table, of_kind)


def kind_of(job: TrainJob | PredictJob) -> Any:
    """The module of a learner's kind."""
    return kind_module(job.room, job.kind)


def models_of(
    kind: Any,
    settings: Any,
    opened: Any,
    job: PredictJob,
    cohort: Cohort,
    device: torch.device,
) -> FoldModels[FoldModel]:
    """The learner's models; raises SpinegradeError as ``load_model`` and ``FoldModels`` do."""
    expected = {key: getattr(job, key) for key in ("name", "room", "kind")}
    models = [
        load_model(
            path,
            {**expected, "select": settings.select},
            partial(kind.network_of, settings, opened),
            device,
        )
        for path in job.inputs["weights"]
    ]
    return FoldModels(job.name, models, cohort)


def _prediction(job: PredictJob) -> tuple[Any, Any, Cohort, torch.device]:
    """Kind, settings, cohort and device of a job."""
    kind, run = kind_of(job), job.run
    seed = stream_seed(run.seed, job.name, "predict") % 2**32
    device = prepare(seed, run.math_threads, run.device)
    return kind, kind.settings_of(job.name, job.block), read_cohort(job.inputs, job.shard), device
