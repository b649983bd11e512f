"""A refusal of the workflow is told by its own sentence, without Snakemake's places and traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from snakemake import exceptions

from spinegrade.errors import SpinegradeError


def speak_plainly() -> None:
    """Have Snakemake print the words of a SpinegradeError alone, wherever the rules raise it."""
    if not hasattr(exceptions.format_exception_to_string, "plain"):
        exceptions.format_exception_to_string = plainly(exceptions.format_exception_to_string)


def plainly(words_of: Callable[..., str]) -> Callable[..., str]:
    """``words_of`` an exception, which for a refusal are its own.

    Snakemake wraps what an input function raises in an error of its own.
    """

    def words(error: BaseException, *more: Any, **named: Any) -> str:
        for one in (error, error.__cause__, error.__context__):
            if isinstance(one, SpinegradeError):
                return f"Error: {one}"
        return words_of(error, *more, **named)

    words.plain = True  # type: ignore[attr-defined]
    return words
