"""The path of Python in the commands of jobs: Snakemake writes it there without quotes.

In a folder such as ``My Projects`` the shell then takes its first word for the program, and every
job ends with exit code 127 and an empty log.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import wraps
from typing import Any

from snakemake.executors.local import Executor
from snakemake.script import PythonScript
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


def quote_interpreter() -> None:
    """Have Snakemake quote the interpreter in every command; a plain path stays as it is."""
    if not hasattr(PythonScript._execute_cmd, "quotes"):
        PythonScript._execute_cmd = with_quoted_python(PythonScript._execute_cmd)
    for executor in (Executor, RemoteExecutor):
        if not hasattr(executor.get_python_executable, "quotes"):
            executor.get_python_executable = with_quoted_answer(executor.get_python_executable)


def with_quoted_python(execute: Callable[..., Any]) -> Callable[..., Any]:
    """``execute`` of a script's command, whose ``py_exec`` is quoted for the shell."""

    @wraps(execute)
    def quoted(self: Any, command: str, **values: Any) -> Any:
        if "py_exec" in values:
            values["py_exec"] = shlex.quote(values["py_exec"])
        return execute(self, command, **values)

    quoted.quotes = True  # type: ignore[attr-defined]
    return quoted


def with_quoted_answer(ask: Callable[[Any], str]) -> Callable[[Any], str]:
    """``ask`` (the interpreter that an executor starts a job with), quoted for the shell."""

    @wraps(ask)
    def quoted(self: Any) -> str:
        return shlex.quote(ask(self))

    quoted.quotes = True  # type: ignore[attr-defined]
    return quoted
