"""What differs between then and now, in words: settings by their key, code by its module."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from spinegrade.runtime.code_parts import PACKAGE

_MOST_NAMED = 4
_LONGEST = 60


class _Absent:
    """Stands for a key that is not there."""


ABSENT = _Absent()


class Change(NamedTuple):
    """The keys down to a value, and the value then and now; ABSENT where there was or is none."""

    path: tuple[str, ...]
    before: Any
    after: Any


def differences(before: Any, after: Any, path: tuple[str, ...] = ()) -> list[Change]:
    """What differs between two JSON values, block by block; lists are compared whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        found = []
        for key in [*before, *(key for key in after if key not in before)]:
            one, other = before.get(key, ABSENT), after.get(key, ABSENT)
            found += differences(one, other, (*path, str(key)))
        return found
    return [] if before == after else [Change(path, before, after)]


def setting_words(
    changes: Iterable[Change], config_changes: list[Change], wildcards: Iterable[str]
) -> list[str]:
    """A phrase on each changed param of a job, by its key in the configuration where that is known.

    ``config_changes`` are those of the configuration since; ``wildcards`` the job's, such as the
    name of a classifier.
    """
    names = set(wildcards)
    found = [_words(_in_config(change, config_changes, names) or change) for change in changes]
    return list(dict.fromkeys(found))


def code_words(before: Mapping[str, str] | None, after: Mapping[str, str]) -> list[str]:
    """Phrases on changed code: modules and resources by name, packages with their versions.

    ``before`` is None where the parts of then are not known.
    """
    if before is None:
        return ["its code, of which no parts were kept"]
    packages = [
        f"{name} was {before.get(name, 'not used')}, is {after.get(name, 'not used')}"
        for name in sorted(before.keys() | after.keys())
        if name.startswith(PACKAGE) and before.get(name) != after.get(name)
    ]
    changed = [name for name in after if not name.startswith(PACKAGE)]
    changed = sorted(name for name in changed if before.get(name) != after[name])
    gone = sorted(name for name in before.keys() - after.keys() if not name.startswith(PACKAGE))
    # A module that is new or gone follows from an edit of one that imports it.
    edited = [name for name in changed if name in before] or changed
    words = [f"code of {listed(map(_file_name, edited))}"] if edited else []
    if gone and not words:
        words = [f"code without {listed(map(_file_name, gone))}"]
    return [*words, *packages]


def listed(names: Iterable[str], most: int = _MOST_NAMED) -> str:
    """The first of many names, and how many more there are."""
    names = list(names)
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"


def _in_config(change: Change, config: list[Change], names: set[str]) -> Change | None:
    """The change of the configuration that a param's change comes from."""
    alike = [one for one in config if one[1:] == change[1:]]
    same_key = [one for one in alike if one.path[-1:] == change.path[-1:]]
    if not same_key:
        return alike[0] if len(alike) == 1 else None
    return max(
        same_key,
        key=lambda one: (_common_end(one.path, change.path), len(names.intersection(one.path))),
    )


def _common_end(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    number = 0
    while number < min(len(one), len(other)) and one[-1 - number] == other[-1 - number]:
        number += 1
    return number


def _words(change: Change) -> str:
    key = ".".join(change.path)
    return f"{key} was {_shown(change.before)}, is {_shown(change.after)}"


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "not set"
    text = value if isinstance(value, str) and value else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _file_name(part: str) -> str:
    return f"{part}.py" if part.startswith("scripts/") else part
