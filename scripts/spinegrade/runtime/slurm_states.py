"""Answers of SLURM that Snakemake's executor misreads, mended where it asks.

PREEMPTED it takes for a pause, and waits for ever. After NODE_FAIL it keeps every later job of the
run away from that node, back or not, so that on a small cluster no node is left. In squeue both are
ends and no more: a job that is put back into the queue is shown as COMPLETING and then PENDING, and
a node that is down gets no jobs from SLURM anyway. And when the controller does not answer a side
question, how long it remembers ended jobs, the executor asks sacct instead of squeue, which where
SLURM keeps no accounts never answers.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from spinegrade.runtime.slurm_notices import SlurmNotices

PLUGIN = "snakemake_executor_plugin_slurm"
# The version whose code this is made for; requirements-slurm.txt pins it.
TRIED = "2.8.0"
_MISREAD = ("PREEMPTED", "NODE_FAIL")
# What the executor calls a failure; Snakemake then submits the job again (retries).
_ENDED = "CANCELLED"
_USUAL_MEMORY_S = 300  # SLURM's own MinJobAge
Query = Callable[[str, logging.Logger], Awaitable[tuple[dict[str, str] | None, float | None]]]


def mend_slurm_executor() -> None:
    """Have the executor, where it is installed, read these answers as they are meant.

    Another version of it gets the same, and a warning with the first query.
    """
    plugin = sys.modules.get(PLUGIN)
    if plugin is None or hasattr(plugin.query_job_status, "ends_are_read"):
        return
    plugin.query_job_status = with_ends_read(plugin.query_job_status, version(PLUGIN))
    plugin.get_min_job_age = with_last_answer(plugin.get_min_job_age)


def with_ends_read(query: Query, installed: str = TRIED) -> Query:
    """``query`` (SLURM states by job number, and seconds) with all ends of squeue read as ends.

    sacct's states stay as they are: it may show a job as PREEMPTED or NODE_FAIL for a moment that
    is then put back, and the job would run twice. What the executor leaves unsaid is told
    (``SlurmNotices``). ``installed`` is the executor's version.
    """
    notices = SlurmNotices()
    unknown = installed != TRIED

    async def asked(command: str, logger: Any) -> tuple[dict[str, str] | None, float | None]:
        nonlocal unknown
        if unknown:
            unknown = False
            logger.warning(
                f"{PLUGIN} is {installed}; how jobs end on a cluster was tried with {TRIED} alone "
                "(pip install -r requirements-slurm.txt)."
            )
        states, seconds = await query(command, logger)
        if states is None:
            return states, seconds
        await notices.tell(states, command, logger)
        if not command.startswith("squeue"):
            return states, seconds
        read = {job: _ENDED if state in _MISREAD else state for job, state in states.items()}
        return read, seconds

    asked.ends_are_read = True  # type: ignore[attr-defined]
    return asked


def with_last_answer(ask: Callable[[], int | None]) -> Callable[[], int]:
    """``ask`` (seconds for which SLURM remembers an ended job) without silence for an answer."""
    known = _USUAL_MEMORY_S

    def asked() -> int:
        nonlocal known
        answer = ask()
        known = known if answer is None else answer
        return known

    return asked
