"""Kinds of learner by name: a kind is a folder of its room with the modules learn and apply.

They are imported when a job asks for them. A rule adds ``module_of`` to its code fingerprint.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from spinegrade.errors import SpinegradeError

_PACKAGE = Path(__file__).resolve().parents[1]


def kind_names(room: str) -> list[str]:
    """The kinds of learner in a room, sorted: its folders with a module ``learn``."""
    return sorted(path.parent.name for path in (_PACKAGE / room).glob("*/learn.py"))


def module_of(room: str, kind: str, part: str) -> str:
    """The module of a kind's ``part``, learn or apply.

    Raises SpinegradeError for an unknown kind.
    """
    if kind not in kind_names(room):
        raise SpinegradeError(
            f"no kind of learner {kind!r} in the room {room!r}; known: "
            f"{', '.join(kind_names(room)) or 'none'} (a folder scripts/spinegrade/{room}/<kind>/ "
            "with the modules learn and apply)",
            code="NAME_UNKNOWN",
        )
    return f"spinegrade.{room}.{kind}.{part}"


def kind_module(room: str, kind: str, part: str) -> ModuleType:
    """What a kind supplies; ``training.learn`` and ``training.apply`` say what that is."""
    return importlib.import_module(module_of(room, kind, part))
