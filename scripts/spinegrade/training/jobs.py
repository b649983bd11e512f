"""What a rule asks of a learner's kind: a training of one fold, or predictions. Without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

if TYPE_CHECKING:  # it imports pandera, which planning need not wait for
    from spinegrade.tables.files import Kind


class Run(NamedTuple):
    """What all jobs of a run share; ``code`` is the fingerprint of the job's code.

    A training saves a checkpoint at least every ``checkpoint_minutes``.
    """

    seed: int
    math_threads: int
    device: str
    checkpoint_minutes: float
    code: str


class TrainJob(NamedTuple):
    """One fold of the learner ``name``, whose kind is ``spinegrade.<room>.<kind>``.

    ``block``: the learner's plain settings; ``given``: facts of other blocks, such as the shapes
    of crops. ``inputs``: paths by name, empty where there is none. ``weights``, ``history`` and
    ``checkpoint`` are written.
    """

    room: str
    kind: str
    name: str
    fold: int
    block: Mapping[str, Any]
    given: Mapping[str, Any]
    inputs: Mapping[str, Sequence[str]]
    weights: str
    history: str
    checkpoint: str
    run: Run


class PredictJob(NamedTuple):
    """What the learner ``name`` says of one ``shard``, or of the whole cohort (None).

    ``inputs`` as of ``TrainJob``, with the weights of the folds; ``outputs``: paths by name.
    """

    room: str
    kind: str
    name: str
    shard: int | None
    block: Mapping[str, Any]
    given: Mapping[str, Any]
    inputs: Mapping[str, Sequence[str]]
    outputs: Mapping[str, str]
    run: Run


class Found(NamedTuple):
    """What a localiser says: keypoint rows of some studies, and what was not found and why."""

    keypoints: list[dict[str, Any]]
    rejected: list[dict[str, Any]]


class Answers(NamedTuple):
    """What a grader says: ``predictions``, whose fold is null for new studies.

    ``tables``: by output the others, each with its kind of table.
    """

    predictions: pd.DataFrame
    tables: Mapping[str, tuple[pd.DataFrame, Kind]] = {}
