"""Which classifiers the ensemble is made of, from the configuration."""

from __future__ import annotations

from collections.abc import Iterable

from spinegrade.errors import SpinegradeError


def chosen_members(wanted: str | list[str], classifiers: Iterable[str]) -> list[str]:
    """The members' names: all ``classifiers`` for "all", else those ``wanted``, in that order.

    Raises SpinegradeError for a name that no classifier has.
    """
    known = list(classifiers)
    if wanted == "all":
        return known
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SpinegradeError(
            f"ensemble.members names {unknown}; there are the classifiers {known}, and 'all'"
        )
    return list(wanted)
