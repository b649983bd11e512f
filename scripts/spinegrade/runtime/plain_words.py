"""A refusal of the workflow is told by its own sentence, without Snakemake's places and traces."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from snakemake import exceptions
from snakemake.exceptions import WorkflowError

from spinegrade.errors import SpinegradeError

_WRAPPED = re.compile(r"Error:\s+SpinegradeError: (.*?)\nWildcards:", re.DOTALL)


def speak_plainly() -> None:
    """Have Snakemake print the words of a SpinegradeError alone, wherever the rules raise it."""
    if not hasattr(exceptions.format_exception_to_string, "plain"):
        exceptions.format_exception_to_string = plainly(exceptions.format_exception_to_string)


def plainly(words_of: Callable[..., str]) -> Callable[..., str]:
    """``words_of`` an exception, which for a refusal are its own.

    Snakemake puts the text of what an input function raises into an error of its own.
    """

    def words(error: BaseException, *more: Any, **named: Any) -> str:
        if isinstance(error, SpinegradeError):
            return f"Error: {error}"
        told = _WRAPPED.match(str(error)) if isinstance(error, WorkflowError) else None
        return f"Error: {told[1]}" if told else words_of(error, *more, **named)

    words.plain = True  # type: ignore[attr-defined]
    return words
