"""Systems: named sets of graders, their families, and the pairs that are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from spinegrade.errors import SpinegradeError
from spinegrade.learner_settings import used_block
from spinegrade.learners import Learner
from spinegrade.near_names import unknown_name

WHOLE = "all"
"""The blend of all members."""


class System(NamedTuple):
    """``members`` are blended, each of the ``families`` alone too; ``pairs`` are compared.

    A pair: the learner that keeps a published fault, and the one that does not. ``localisers``:
    those, and projections, whose points are shown beside.
    """

    name: str
    members: tuple[str, ...]
    families: Mapping[str, tuple[str, ...]]
    pairs: tuple[tuple[str, str], ...]
    localisers: tuple[str, ...] = ()

    @property
    def blends(self) -> dict[str, tuple[str, ...]]:
        """Members by blend: all, and each family where there are several."""
        families = self.families if len(self.families) > 1 else {}
        return {WHOLE: self.members, **families}

    @property
    def learners(self) -> tuple[str, ...]:
        """The members, those that are only compared, and localisers that are only shown."""
        compared = (name for pair in self.pairs for name in pair)
        return tuple(dict.fromkeys([*self.members, *compared, *self.localisers]))


def systems_of(blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, System]:
    """By name the systems of the validated block ``systems``."""
    found = {}
    for name, block in blocks.items():
        families = {family: tuple(members) for family, members in block["families"].items()}
        members = dict.fromkeys([*block["members"], *(m for own in families.values() for m in own)])
        pairs = tuple((with_fault, mended) for with_fault, mended in block["compare"])
        localisers = tuple(block["localisers"])
        found[name] = System(name, tuple(members), families, pairs, localisers)
    return found


def check_systems(
    systems: Mapping[str, System],
    run: Iterable[str],
    learners: Mapping[str, Learner],
    found_by: Iterable[str],
) -> None:
    """Refuse unknown systems and members, and pairs that differ in more than published faults.

    ``found_by``: all that find points. Raises SpinegradeError with the path of the key.
    """
    for name in run:
        if name not in systems:
            raise _unknown("run", name, systems, "system")
    graders = [name for name, one in learners.items() if one.room == "grade"]
    for name, system in systems.items():
        for member in system.members:
            if member not in graders:
                raise _unknown(f"systems.{name}.members", member, graders, "grader")
        for localiser in system.localisers:
            if localiser not in found_by:
                raise _unknown(f"systems.{name}.localisers", localiser, found_by, "finds points")
        if WHOLE in system.families:
            key = f"systems.{name}.families.{WHOLE}"
            text = f"{key} has the name of the blend of all members; give it another"
            raise SpinegradeError(text, code="SYSTEM_NAME_TAKEN", key=key)
        for pair in system.pairs:
            _check_pair(f"systems.{name}.compare", pair, learners)


def _check_pair(key: str, pair: tuple[str, str], learners: Mapping[str, Learner]) -> None:
    for name in pair:
        if name not in learners:
            raise _unknown(key, name, learners, "learner")
    blocks = [learners[name].settings.block for name in pair]
    left = ("as_published",)
    rest = [used_block(block, left) for block in blocks]
    unlike = sorted(k for k in {*rest[0], *rest[1]} if rest[0].get(k) != rest[1].get(k))
    faults = [set(block.get("as_published", ())) for block in blocks]
    if unlike or not faults[0] > faults[1]:
        what = f"differ in {', '.join(unlike)}" if unlike else "keep the same faults"
        raise SpinegradeError(
            f"{key} names {pair[0]} and {pair[1]}, which {what}; a pair is alike but for "
            "as_published, of which the first names more",
            code="SYSTEM_PAIR",
            key=key,
        )


def _unknown(key: str, name: str, known: Iterable[str], what: str) -> SpinegradeError:
    return SpinegradeError(unknown_name(key, name, known, what), code="NAME_UNKNOWN", key=key)
