"""No model may predict a study that it has seen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from spinegrade.errors import SpinegradeError


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
