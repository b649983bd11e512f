"""What Snakemake's executor for SLURM does not say of a run's jobs, each thing once.

How a job ended: of jobs that share one (groups) Snakemake tells that they failed, not the state.
And that SLURM holds a job: it then waits in the queue until somebody releases it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from typing import Any

# Ends of a job other than COMPLETED, as squeue, sacct and scontrol name them.
BAD_ENDS = (
    *("BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED"),
    *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"),
)
_WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")
# Ends after which SLURM puts a job back, unless the job or the cluster says otherwise.
_USUALLY_PUT_BACK = ("NODE_FAIL", "PREEMPTED")
_RUN = re.compile(r"--name[ =](\S+)")
_PATIENCE_S = 10.0


class SlurmNotices:
    """Warns of each job of a run once when it has ended badly, and once whenever SLURM holds it."""

    def __init__(self) -> None:
        self._ended: set[str] = set()
        self._held: set[str] = set()

    async def tell(self, states: Mapping[str, str], command: str, logger: Any) -> None:
        """Warn of what is new in ``states`` (by job number), which the query ``command`` gave."""
        # sacct writes "CANCELLED by" and who did it.
        named = {job: state.split()[0] for job, state in states.items() if state}
        ended = {job for job, state in named.items() if state in BAD_ENDS} - self._ended
        if not command.startswith("squeue"):
            # sacct shows a job as preempted for a moment that is then put back.
            ended = {job for job in ended if named[job] not in _USUALLY_PUT_BACK}
        self._ended |= ended
        for job in sorted(ended, key=_by_number):
            shown = await _ask("scontrol", "show", "job", "--oneliner", job) or ""
            logger.warning(_end_of(job, named[job], shown))
        if run := _RUN.search(command):
            waiting = {job for job, state in named.items() if state in _WAITING}
            held = await _held(run[1]) if waiting else {}
            if held is None:
                return
            for job in sorted(held.keys() & waiting - self._held, key=_by_number):
                logger.warning(
                    f"SLURM holds job {job}{held[job]}: it waits, and this run with it, until it "
                    f"is released with `scontrol release {job}`."
                )
            self._held = set(held)


async def _held(run: str) -> dict[str, str] | None:
    """The held jobs named ``run`` by number: what each is, and why it is held; None: no answer."""
    wanted = ("--noheader", "--states=all", "--format=%i|%Q|%r|%k", f"--name={run}")
    if (answer := await _ask("squeue", *wanted)) is None:
        return None
    listed = [line.split("|", 3) for line in answer.splitlines()]
    # A job is held when its priority is nought, whoever did it.
    return {
        job: f" ({rule}), for the reason '{reason}'"
        for job, priority, reason, rule in (words for words in listed if len(words) == 4)
        if priority == "0"
    }


def _by_number(job: str) -> tuple[int, str]:
    return len(job), job


def _end_of(job: str, state: str, shown: str) -> str:
    """How a job ended, in one sentence; ``shown`` is what scontrol says of it, or empty."""
    told = dict(re.findall(r"\b(Comment|ExitCode|NodeList)=(\S+)", shown))
    rule = f" ({told['Comment']})" if "Comment" in told else ""
    parts = [f"SLURM job {job}{rule} ended as {state}"]
    if "ExitCode" in told:
        status, _, signal = told["ExitCode"].partition(":")
        parts.append(f"by signal {signal}" if signal not in ("", "0") else f"exit status {status}")
    if told.get("NodeList", "(null)") != "(null)":
        parts.append(f"on {told['NodeList']}")
    if state in _USUALLY_PUT_BACK:
        parts.append("and SLURM did not put it back into the queue")
    return ", ".join(parts) + "."


async def _ask(*command: str) -> str | None:
    """What a SLURM client prints; None where it fails or does not answer."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
