"""No model may predict a study that it has seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from spinegrade.errors import SpinegradeError

Model = TypeVar("Model")


def refuse_leak(path: str | Path, seen: Iterable[str], studies: Iterable[str], what: str) -> None:
    """Raise SpinegradeError where the model of ``path`` has seen one of ``studies``.

    ``seen``: the studies whose labels it learnt from or was chosen by; ``what`` names the kind of
    model, for what is to be done.
    """
    leaked = sorted(set(seen) & set(studies))
    if leaked:
        raise SpinegradeError(
            f"{path} was trained on {len(leaked)} studies that it is to predict, {leaked[0]} "
            f"among them: the folds changed since; train this {what} again"
        )


def models_of(
    study: str,
    split: str,
    folds: Mapping[str, int] | None,
    models: Sequence[Model],
    name: str,
) -> tuple[list[Model], str]:
    """The ``models``, one a fold, that may look at a study, and what to call their result's source.

    A training study has the one model of its own fold, which did not train on it; a test study,
    and with ``folds`` None (models trained elsewhere) any study, the mean over all. Raises
    SpinegradeError for a training study without a fold.
    """
    if split == "test" or folds is None:
        return list(models), f"{name}:mean"
    if study not in folds:
        raise SpinegradeError(
            f"study {study}: a training study without a fold; make the folds table again with "
            "the rule split_folds"
        )
    fold = folds[study]
    return [models[fold]], f"{name}:fold_{fold}"
