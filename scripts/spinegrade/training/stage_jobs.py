"""A Snakemake job of a learner as plain values."""

from __future__ import annotations

from typing import Any

from spinegrade.training.jobs import PredictJob, Run, TrainJob


def _run(job: Any) -> Run:
    given = job.params
    # Not through params: how often it is saved changes no result, and must retrain nothing.
    minutes = job.config["runtime"]["checkpoint_minutes"]
    return Run(given.seed, given.math_threads, given.device, minutes, given.code)


def _inputs(job: Any) -> dict[str, list[str]]:
    found = {}
    for name, value in job.input.items():
        found[name] = [value] if isinstance(value, str) else list(value)
    return found


def train_job(job: Any, room: str, kind: str, name: str, block: Any, given: Any = None) -> TrainJob:
    """The training of one fold."""
    return TrainJob(
        *(room, kind, name, int(job.wildcards.fold), block, given or {}, _inputs(job)),
        *(job.output.weights, job.output.history, job.params.checkpoint, _run(job)),
    )


def predict_job(
    job: Any, room: str, kind: str, name: str, block: Any, given: Any = None
) -> PredictJob:
    """Predictions of a shard, where the job has one, or of the cohort."""
    shard = job.wildcards.get("shard")
    return PredictJob(
        *(room, kind, name, None if shard is None else int(shard), block, given or {}),
        *(_inputs(job), dict(job.output.items()), _run(job)),
    )
