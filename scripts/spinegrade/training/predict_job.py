"""The one driver of prediction: what a learner's fold models say of a shard or a cohort.

A kind's module ``predict`` has ``Settings`` and ``open_inputs`` as in ``training.job``, and

``network_of(settings, opened, record, weights)``: the network of stored weights, built without
looking up pretrained ones;
``predict(settings, opened, models, studies)``: what the models say of the studies.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import torch

from spinegrade.keypoint_rows import write_found
from spinegrade.runtime.seeds import stream_seed
from spinegrade.runtime.torch_setup import prepare
from spinegrade.tables.files import write_table
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.training.fold_models import Cohort, FoldModels, read_cohort
from spinegrade.training.jobs import PredictJob
from spinegrade.training.kinds import kind_module
from spinegrade.training.record import FoldModel, load_model

_LOGGER = logging.getLogger("spinegrade")


def infer_localiser(job: PredictJob) -> None:
    """Find the points of every usable study of one shard, each by models that never saw it.

    What is not found is counted in the log and listed in the rejected table. Raises
    SpinegradeError as ``FoldModels`` does.
    """
    found, _ = _predicted(job)
    write_found(job.name, *found, job.outputs["keypoints"], job.outputs["rejected"])


def predict_grader(job: PredictJob) -> None:
    """Grade every usable study of the cohort, each by models that never saw it.

    Raises SpinegradeError as ``FoldModels`` does.
    """
    found, cohort = _predicted(job)
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


def _predicted(job: PredictJob) -> tuple[Any, Cohort]:
    """What a kind says of a job's cohort."""
    kind, run = kind_module(job.room, job.kind, "predict"), job.run
    settings = kind.Settings(job.name, job.block)
    device = prepare(
        stream_seed(run.seed, job.name, "predict") % 2**32, run.math_threads, run.device
    )
    cohort, opened = read_cohort(job.inputs, job.shard), kind.open_inputs(settings, job)
    models = models_of(kind, settings, opened, job, cohort, device)
    return kind.predict(settings, opened, models, cohort.studies), cohort
