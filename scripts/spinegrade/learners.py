"""The learners of a configuration, each with what its kind says of it. Without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from spinegrade.crop_shape import CropShape
from spinegrade.errors import SpinegradeError
from spinegrade.learner_settings import House, Needs
from spinegrade.training.kinds import kind_module, module_of, room_of_kind

# Folders of the rooms, and names that the combination uses itself.
_RESERVED = {"canvases", "prior", "ensemble", "combine"}


class Crops(NamedTuple):
    """Of each set of crops its ``conditions``; of these and of the ``sequences`` their shapes."""

    conditions: Mapping[str, list[str]]
    square: set[str]
    sequences: list[str]
    shapes: Mapping[str, CropShape]


class Learner(NamedTuple):
    """A learner and its kind, ``spinegrade.<room>.<kind>``; ``settings`` are of the kind's type."""

    name: str
    room: str
    kind: str
    settings: Any

    def needs(self, stage: str) -> Needs:
        """What ``stage`` (train, predict) of it reads and uses."""
        return kind_module(self.room, self.kind, "settings").needs(self.settings, stage)

    def modules(self, stage: str) -> tuple[str, ...]:
        """The modules that join the code of ``stage``: the kind's, and those that it names."""
        part = "kind" if stage == "train" else "predict"
        return module_of(self.room, self.kind, part), *self.needs(stage).modules

    @property
    def finds(self) -> tuple[str, ...]:
        """The conditions whose points it finds by itself; none of one that is told the slice."""
        if getattr(self.settings, "view", "") == "axial_slice":
            return ()
        return tuple(getattr(self.settings, "finds", ()))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Tables that a grader predicts beside its grades; those of points are measured."""
        return getattr(kind_module(self.room, self.kind, "settings"), "OUTPUTS", ())


def learners_of(blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, Learner]:
    """By name the learners of the validated block ``learners``."""
    found = {}
    for name, block in blocks.items():
        room = room_of_kind()[block["kind"]]
        made = kind_module(room, block["kind"], "settings").Settings(name, block)
        found[name] = Learner(name, room, block["kind"], made)
    return found


def check_learners(
    learners: Mapping[str, Learner], crops: Crops, folds: int, taken: Iterable[str]
) -> None:
    """Refuse learners whose settings do not fit together, or not to what they refer to.

    ``taken``: names of others whose folders lie beside theirs. Raises SpinegradeError with the
    path of the key, the value and what is allowed.
    """
    house = House(
        {name: one.settings for name, one in learners.items() if one.room == "localise"},
        crops.conditions,
        crops.shapes,
        crops.square,
        crops.sequences,
        folds,
    )
    for name, one in learners.items():
        where = f"learners.{name}"
        if name in _RESERVED or name in set(taken):
            raise SpinegradeError(
                f"{where}: the name is taken by a projection, an outside table or the workflow "
                "itself; give the learner another",
                code="LEARNER_NAME_TAKEN",
                key=where,
            )
        kind_module(one.room, one.kind, "settings").check(where, one.settings, house)


def unread(read: Iterable[str], known: Iterable[str], what: str) -> list[str]:
    """Sentences on those of the ``known`` names that nothing reads."""
    seen = set(read)
    return [
        f"{what}.{name} is read by nothing: it is not made" for name in known if name not in seen
    ]
