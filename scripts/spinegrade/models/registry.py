"""Architectures by name, imported only when they are asked for.

A model's name is its module's name: ``build("heatmap_unet", ...)`` imports
``spinegrade.models.heatmap_unet`` and calls its ``build``. Nothing here imports a model, so
that editing one changes the code fingerprint only of the rules whose config names it; a rule
adds ``module_of(name)`` to its fingerprint.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinegrade.errors import SpinegradeError

if TYPE_CHECKING:
    from torch import nn

_FOLDER = Path(__file__).resolve().parent
# Modules that models are made of; they have no ``build``.
_PARTS = {"packed_convolution", "packed_volumes", "paired_slices"}
_NOT_MODELS = {"__init__", "registry"} | _PARTS


def model_names() -> list[str]:
    """Names of all architectures, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem not in _NOT_MODELS)


def module_of(name: str) -> str:
    """The module that holds the architecture ``name``; raises SpinegradeError if unknown."""
    if name not in model_names():
        raise SpinegradeError(
            f"no architecture named {name!r}; known: {', '.join(model_names())} "
            "(a file scripts/spinegrade/models/<name>.py with a function build)"
        )
    return f"spinegrade.models.{name}"


def build(name: str, **options: Any) -> nn.Module:
    """Build the architecture ``name``: its module's ``build(**options)``.

    Raises SpinegradeError for an unknown name, and for options that its ``build`` does not
    take or misses, with the ones that it takes.
    """
    builder = importlib.import_module(module_of(name)).build
    signature = inspect.signature(builder)
    try:
        signature.bind(**options)
    except TypeError as error:
        raise SpinegradeError(
            f"architecture {name}: {error}; its options are {', '.join(signature.parameters)}"
        ) from error
    return builder(**options)
