"""Losses by name, imported only when they are asked for.

A loss's name is its module's name: ``build("point_cross_entropy", ...)`` imports
``spinegrade.losses.point_cross_entropy`` and calls its ``build``. Nothing imports a loss but
through here, so that editing one changes the code fingerprint only of the trainings whose config
names it; their rules add ``module_of(name)`` to it. The schemas of keypoints and classifiers
list the losses that fit each.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spinegrade.errors import SpinegradeError

_FOLDER = Path(__file__).resolve().parent
_NOT_LOSSES = {"__init__", "registry", "heatmap_terms"}


def loss_names() -> list[str]:
    """Names of all losses, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem not in _NOT_LOSSES)


def module_of(name: str) -> str:
    """The module that holds the loss ``name``; raises SpinegradeError if unknown."""
    if name not in loss_names():
        raise SpinegradeError(
            f"no loss named {name!r}; known: {', '.join(loss_names())} "
            "(a file scripts/spinegrade/losses/<name>.py with a function build)"
        )
    return f"spinegrade.losses.{name}"


def build(name: str, **options: Any) -> Callable[..., Any]:
    """Build the loss ``name``: its module's ``build(**options)``.

    Raises SpinegradeError for an unknown name, and for options that its ``build`` does not
    take or misses, with the ones that it takes.
    """
    builder = importlib.import_module(module_of(name)).build
    signature = inspect.signature(builder)
    try:
        signature.bind(**options)
    except TypeError as error:
        raise SpinegradeError(
            f"loss {name}: {error}; its options are {', '.join(signature.parameters) or 'none'}"
        ) from error
    return builder(**options)
