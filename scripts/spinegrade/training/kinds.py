"""Kinds of learner: folders of the rooms of learners that have a module ``kind``, by name.

``spinegrade.<room>.<kind>.settings`` is read when a run is planned, ``.kind`` when it is trained,
``.predict`` when it predicts: nothing imports them but by name.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType

from spinegrade.errors import SpinegradeError

ROOMS = {"localise": "localiser", "grade": "grader"}
"""By room what its learners are called."""
_PACKAGE = Path(__file__).resolve().parents[1]


@cache
def room_of_kind() -> dict[str, str]:
    """The room of each kind of learner, sorted by kind."""
    found = {
        path.parent.name: room for room in ROOMS for path in _PACKAGE.glob(f"{room}/*/kind.py")
    }
    return dict(sorted(found.items()))


def module_of(room: str, kind: str, part: str = "kind") -> str:
    """The module ``part`` of a kind; raises SpinegradeError for an unknown kind."""
    known = [name for name, its_room in room_of_kind().items() if its_room == room]
    if kind not in known:
        raise SpinegradeError(
            f"no kind of learner {kind!r} in the room {room!r}; known: {', '.join(known)}",
            code="NAME_UNKNOWN",
        )
    return f"spinegrade.{room}.{kind}.{part}"


def kind_module(room: str, kind: str, part: str = "kind") -> ModuleType:
    """That module; ``training.job`` and ``training.predict_job`` say what it holds."""
    return importlib.import_module(module_of(room, kind, part))
