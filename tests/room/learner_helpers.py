"""Jobs of learners as tests give them, and the engine on a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from spinegrade.training.engine import Training
from spinegrade.training.fold_models import Cohort, FoldModels
from spinegrade.training.job import train_learner
from spinegrade.training.jobs import PredictJob, Run, TrainJob
from spinegrade.training.plan import Plan
from spinegrade.training.predict_job import infer_localiser, predict_grader
from spinegrade.training.record import FoldModel, Record
from spinegrade.training.stage_jobs import INPUTS
from spinegrade.training.streams import Streams
from spinegrade.training.task import Task

CPU = torch.device("cpu")
NO_INPUTS: dict[str, Sequence[str]] = dict.fromkeys(INPUTS, ())
RUN = Run(seed=5, math_threads=1, device="cpu", checkpoint_minutes=5.0, code="a")


def train_fold(
    folder: Path,
    kind: tuple[str, str],
    name: str,
    fold: int,
    block: Mapping[str, Any],
    inputs: Mapping[str, Sequence[str]],
    given: Mapping[str, Any] | None = None,
    **run: Any,
) -> Path:
    """Train a fold of a learner of ``kind`` (room, kind); ``run`` replaces parts of RUN.

    <name>_<fold>.safetensors, .csv and .pt lie in ``folder``; the weights' path.
    """
    weights = folder / f"{name}_{fold}.safetensors"
    files = (str(weights), str(weights.with_suffix(".csv")), str(weights.with_suffix(".pt")))
    train_learner(TrainJob(*kind, name, fold, block, given or {}, {**NO_INPUTS, **inputs}, *files,
                           RUN._replace(**run)))  # fmt: skip
    return weights


def infer_points(
    folder: Path,
    kind: tuple[str, str],
    name: str,
    block: Mapping[str, Any],
    inputs: Mapping[str, Sequence[str]],
    given: Mapping[str, Any] | None = None,
) -> tuple[str, str]:
    """Paths of the keypoints and of the rejected of shard 0."""
    outputs = {
        "keypoints": str(folder / f"{name}.parquet"),
        "rejected": str(folder / f"{name}.rejected.parquet"),
    }
    infer_localiser(
        PredictJob(*kind, name, 0, block, given or {}, {**NO_INPUTS, **inputs}, outputs, RUN)
    )
    return outputs["keypoints"], outputs["rejected"]


def predict_grades(
    folder: Path,
    kind: tuple[str, str],
    name: str,
    block: Mapping[str, Any],
    inputs: Mapping[str, Sequence[str]],
    given: Mapping[str, Any] | None = None,
    more: Sequence[str] = (),
) -> dict[str, str]:
    """Paths of what a grader predicts, by name; ``more`` outputs of its kind."""
    names = ("out_of_fold", "new", *more)
    outputs = {one: str(folder / f"{name}_{one}.parquet") for one in names}
    predict_grader(
        PredictJob(*kind, name, None, block, given or {}, {**NO_INPUTS, **inputs}, outputs, RUN)
    )
    return outputs


def engine(
    task: Task,
    plan: Plan,
    choosing: Task | None = None,
    watching: Task | None = None,
    seed: int = 1,
    device: torch.device = CPU,
    prefix: str = "toy",
) -> Training:
    """The engine on ``task``, fold 0 of the learner net; ``prefix`` of its streams."""
    streams = Streams(seed, prefix, "net", 0)
    torch.manual_seed(streams.start)
    return Training(task, plan, streams, device, choosing, watching)


def trained(training: Training) -> Training:
    """The same after its last step."""
    for parts in training.batches():
        training.train_step(parts)
        if training.is_done:
            break
    return training


def stand_ins(
    networks: Sequence[torch.nn.Module],
    cohort: Cohort,
    name: str = "net",
    settings: Mapping[str, Any] | None = None,
    **record: Any,
) -> FoldModels[FoldModel]:
    """Made-up ``networks`` as the models of folds 0, 1 ..., which have seen nothing."""
    known = {"room": "", "kind": "", "code": "", "select": "last"}
    empty = {"trained_on": (), "chosen_on": (), "extra": {}}
    models = [
        FoldModel(
            network,
            Record(
                **{"name": name, "fold": fold, "settings": settings or {}}
                | {**known, **empty, **record}
            ),
            CPU,
            str(fold),
        )
        for fold, network in enumerate(networks)
    ]
    return FoldModels(name, models, cohort)
