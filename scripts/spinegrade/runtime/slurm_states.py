"""Two answers of SLURM that Snakemake's executor misreads, and then waits for ever.

PREEMPTED it takes for a pause. In squeue it is an end: a job that is put back into the queue is
shown as COMPLETING and then PENDING, and PREEMPTED stays only where the cluster cancels what it
preempts. And when the controller does not answer a side question, how long it remembers ended
jobs, the executor asks sacct instead of squeue, which where SLURM keeps no accounts never answers.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

PLUGIN = "snakemake_executor_plugin_slurm"
# What the executor calls a failure; Snakemake then submits the job again (retries).
_ENDED = "CANCELLED"
_USUAL_MEMORY_S = 300  # SLURM's own MinJobAge
Query = Callable[[str, logging.Logger], Awaitable[tuple[dict[str, str] | None, float | None]]]


def mend_slurm_executor() -> None:
    """Have the executor, where it is installed, read both answers as they are meant."""
    plugin = sys.modules.get(PLUGIN)
    if plugin is None or hasattr(plugin.query_job_status, "ends_preempted"):
        return
    plugin.query_job_status = with_preempted_ended(plugin.query_job_status)
    plugin.get_min_job_age = with_last_answer(plugin.get_min_job_age)


def with_preempted_ended(query: Query) -> Query:
    """``query`` (SLURM states by job number, and seconds) with PREEMPTED from squeue as an end.

    sacct's states stay as they are: it may show a job as PREEMPTED for a moment that is then put
    back, and the job would run twice.
    """
    told: set[str] = set()

    async def asked(command: str, logger: Any) -> tuple[dict[str, str] | None, float | None]:
        states, seconds = await query(command, logger)
        if states is None or not command.startswith("squeue"):
            return states, seconds
        preempted = {job for job, state in states.items() if state == "PREEMPTED"}
        for job in sorted(preempted - told):
            logger.warning(
                f"SLURM job {job} was preempted and not put back into the queue: it has failed."
            )
        told.update(preempted)
        return {**states, **dict.fromkeys(preempted, _ENDED)}, seconds

    asked.ends_preempted = True  # type: ignore[attr-defined]
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
