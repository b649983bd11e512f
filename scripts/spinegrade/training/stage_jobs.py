"""A Snakemake job of a learner as plain values."""

from __future__ import annotations

from typing import Any

from spinegrade.training.jobs import PredictJob, Run, TrainJob
from spinegrade.training.plan import QUIET

INPUTS = (
    *("studies", "folds", "labels", "stacks", "landmarks", "volumes", "arrays", "tables"),
    *("slices", "sequences", "weights", "levels", "xy_weights"),
)
"""The inputs that a learner may have."""


def train_job(job: Any) -> TrainJob:
    """The training of one fold."""
    params, name = job.params, str(job.wildcards.learner)
    block = dict(params.block)
    # Not through params: how often it is saved or watched changes nothing of what is learnt.
    training = job.config["learners"][name]["training"]
    block["training"] = {**block["training"], **{key: training[key] for key in QUIET}}
    return TrainJob(
        *(params.room, params.kind, name, int(job.wildcards.fold), block, params.given),
        *(_inputs(job), job.output.weights, job.output.history, params.checkpoint, _run(job)),
    )


def predict_job(job: Any) -> PredictJob:
    """Predictions of a shard, where the job has one, or of the cohort."""
    params, shard = job.params, job.wildcards.get("shard")
    return PredictJob(
        *(params.room, params.kind, str(job.wildcards.learner)),
        *(None if shard is None else int(shard), params.block, params.given),
        *(_inputs(job), dict(job.output.items()), _run(job)),
    )


def _run(job: Any) -> Run:
    given, minutes = job.params, job.config["runtime"]["checkpoint_minutes"]
    return Run(given.seed, given.math_threads, given.device, minutes, given.code)


def _inputs(job: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in INPUTS}
    for name, value in job.input.items():
        found[name] = [value] if isinstance(value, str) else list(value)
    return found
