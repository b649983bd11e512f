"""Kinds of learner by name: ``spinegrade.<room>.<kind>.kind``, imported when a job asks for it."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from spinegrade.errors import SpinegradeError

_PACKAGE = Path(__file__).resolve().parents[1]


def kind_names(room: str) -> list[str]:
    """The kinds of learner in a room, sorted: its folders with a module ``kind``."""
    return sorted(path.parent.name for path in (_PACKAGE / room).glob("*/kind.py"))


def module_of(room: str, kind: str) -> str:
    """The module of a kind; raises SpinegradeError for an unknown one."""
    if kind not in kind_names(room):
        raise SpinegradeError(
            f"no kind of learner {kind!r} in the room {room!r}; known: "
            f"{', '.join(kind_names(room)) or 'none'}"
        )
    return f"spinegrade.{room}.{kind}.kind"


def kind_module(room: str, kind: str) -> ModuleType:
    """What a kind supplies; ``training.job`` says what that is."""
    return importlib.import_module(module_of(room, kind))
