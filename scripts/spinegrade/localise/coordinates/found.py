"""What was found of a shard's studies, and by which folds' models."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.keypoint_rows import keypoint_table, rejected_table, tell_rejected
from spinegrade.tables import read_table, write_table
from spinegrade.training.leaks import refuse_leak

_LOGGER = logging.getLogger("spinegrade")


class Found(NamedTuple):
    """Keypoint rows of one or more studies, and what could not be found and why."""

    keypoints: list[dict[str, Any]]
    rejected: list[dict[str, Any]]


class OfFold(Protocol):
    """What was learnt without one fold, with the studies that it may not be used for."""

    @property
    def fold(self) -> int: ...  # noqa: D102
    @property
    def refused(self) -> set[str]: ...  # noqa: D102
    @property
    def path(self) -> str: ...  # noqa: D102


Model = TypeVar("Model", bound=OfFold)


def by_fold(
    name: str,
    models: Sequence[Model],
    studies: pd.DataFrame,
    folds: Mapping[str, int] | None,
    what: str,
    rule: str,
) -> list[Model]:
    """``models`` in the order of their folds, for ``studies`` (columns study and split).

    With ``folds`` None all studies are new. ``what`` and ``rule`` name the kind of model and what
    makes it. Raises SpinegradeError where a model has seen a study that it would look at, or a
    fold has none.
    """
    ordered = sorted(models, key=lambda one: one.fold)
    is_new = dict(zip(studies["study"], studies["split"] == "test", strict=True))
    for one in ordered:
        looked_at = [
            study
            for study in studies["study"]
            if folds is None or is_new[study] or folds.get(study) == one.fold
        ]
        refuse_leak(one.path, one.refused, looked_at, what)
    given = [one.fold for one in ordered]
    if folds is not None and given != sorted(set(folds.values())):
        raise SpinegradeError(
            f"{what} {name}: there are the folds {given}, but the cohort has the folds "
            f"{sorted(set(folds.values()))}; run {rule} for each of these"
        )
    return ordered


def shard_studies(
    studies_path: str, folds_path: str | None, shard: int
) -> tuple[pd.DataFrame, dict[str, int] | None]:
    """The usable studies of a shard, sorted, and the fold of each training study, if any has."""
    studies = read_table(studies_path, "studies")
    studies = studies[(studies["shard"] == shard) & studies["problem"].isna()]
    folds = None
    if folds_path is not None:
        table = read_table(folds_path, "folds")
        folds = dict(zip(table["study"], table["fold"].astype(int), strict=True))
    return studies.sort_values("study"), folds


def write_found(name: str, found: Found, keypoints_path: str, rejected_path: str) -> None:
    """Write what was found and what not, and tell it in the log."""
    keypoints, rejected = keypoint_table(found.keypoints), rejected_table(found.rejected)
    tell_rejected(rejected)
    _LOGGER.info("%s: %d points in %d studies", name, len(keypoints), keypoints["study"].nunique())
    write_table(keypoints_path, keypoints, "keypoints")
    write_table(rejected_path, rejected, "rejected")
