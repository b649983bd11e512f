"""Which studies a fold's training learns from, and by which it chooses its epoch."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.seeds import stream_seed

SELECTS = ("last", "inner", "published")


class FoldStudies(NamedTuple):
    """Sorted studies of a fold's training: to learn from, to choose the epoch by, held out."""

    learning: list[str]
    choosing: list[str]
    held_out: list[str]


def fold_studies(
    studies: pd.DataFrame,
    folds: pd.DataFrame,
    fold: int,
    *,
    select: str,
    inner_share: float,
    where: str,
    seed: int,
    stream: tuple[str, ...],
) -> FoldStudies:
    """The studies of a fold's training, by ``select``.

    ``studies`` and ``folds``: tables of these kinds. last: all usable studies outside the fold
    learn, none chooses. inner: a share of them, ``inner_share``, chosen by a hash of the study and
    the fold in the ``stream`` of ``seed``, chooses instead. published: those inside the fold
    choose, so that their score is too good. ``where`` is what messages call the training. Raises
    SpinegradeError where the fold holds no study, and where no study is left to learn from or to
    choose by.
    """
    usable = set(studies[(studies["split"] == "train") & studies["problem"].isna()]["study"])
    inside = sorted(usable & set(folds[folds["fold"] == fold]["study"]))
    outside = sorted(usable & set(folds[folds["fold"] != fold]["study"]))
    if not inside or not outside:
        counts = folds["fold"].value_counts().sort_index().to_dict()
        raise SpinegradeError(
            f"{where}: {len(inside)} usable studies are held out and {len(outside)} left to learn "
            f"from; studies by fold: {counts}; lower cohort.folds or give more studies"
        )
    if select == "last":
        return FoldStudies(outside, [], inside)
    if select == "published":
        return FoldStudies(outside, inside, inside)

    def place(study: str) -> float:
        return stream_seed(seed, *stream, fold, study) / 2**63

    inner = [study for study in outside if place(study) < inner_share]
    learning = sorted(set(outside) - set(inner))
    if not inner or not learning:
        raise SpinegradeError(
            f"{where}: inner_share is {inner_share}, which takes {len(inner)} of "
            f"{len(outside)} studies to choose the epoch by; change it or set select: last"
        )
    return FoldStudies(learning, inner, inside)
