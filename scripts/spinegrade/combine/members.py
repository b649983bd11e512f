"""Which graders and outside tables the ensemble is made of, from the configuration."""

from __future__ import annotations

from collections.abc import Iterable

from spinegrade.combine.prior import PRIOR
from spinegrade.errors import SpinegradeError

ENSEMBLE = "ensemble"
"""The combined probabilities' name in the column ``classifier``."""


def chosen_members(
    wanted: str | list[str], graders: Iterable[str], outside: Iterable[str] = ()
) -> tuple[list[str], list[str]]:
    """The names of the members among ``graders``, and of those among ``outside`` tables.

    All for "all", else those ``wanted``, in that order. Raises SpinegradeError for a name that
    neither has, and for an outside table with the name of a grader or of the ensemble's own.
    """
    known, tables = list(graders), list(outside)
    for name in tables:
        if name in known or name in (PRIOR, ENSEMBLE):
            raise SpinegradeError(
                f"combine.outside.{name}: the name is that of a grader or of the ensemble; "
                "give the table another",
                code="MEMBER_NAME_TAKEN",
                key=f"combine.outside.{name}",
            )
    if wanted == "all":
        return known, tables
    unknown = [name for name in wanted if name not in (*known, *tables)]
    if unknown:
        raise SpinegradeError(
            f"combine.members names {unknown}; there are the graders {known}, the outside "
            f"tables {tables}, and 'all'",
            code="MEMBER_UNKNOWN",
            key="combine.members",
        )
    return [name for name in wanted if name in known], [name for name in wanted if name in tables]
