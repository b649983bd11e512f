"""Who runs: this process by host, number and start, and whether another one still does."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

# A process number is used again only after all others; one that began this near is the same.
_SAME_START_S = 5.0


def this_process() -> dict[str, Any]:
    """Host, pid, start (seconds since 1970) and, inside a SLURM job, its number."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def is_alive(process: dict[str, Any], slurm: dict[str, str] | None = None) -> bool | None:
    """Whether a process (the keys of ``this_process``) still runs; None where nobody can tell.

    ``slurm``: what ``slurm_jobs`` says; it speaks for a process of a SLURM job on another host.
    """
    if process["host"] != socket.gethostname():
        known = slurm is not None and process.get("slurm_job")
        return process["slurm_job"] in slurm if known else None
    try:
        found = psutil.Process(process["pid"])
        same = abs(found.create_time() - process["started"]) < _SAME_START_S
        return same and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def orphaned_jobs(folder: str | Path) -> list[int]:
    """Process numbers of stage scripts of ``folder``'s workflow that no Snakemake watches any more.

    A kill of the main process does not end its jobs. One that has only just begun has not yet
    told of itself in a status file; its command line names the script all the same.
    """
    scripts = f"{Path(folder).resolve()}/.snakemake/scripts/"
    found = []
    for process in psutil.process_iter():
        try:
            if not any(word.startswith(scripts) for word in process.cmdline()):
                continue
            watched = any("snakemake" in " ".join(p.cmdline()) for p in process.parents())
        except psutil.Error:
            continue
        if not watched and process.pid != os.getpid():
            found.append(process.pid)
    return sorted(found)


def slurm_jobs(jobs: Iterable[str] = (), run: str | None = None) -> dict[str, str] | None:
    """State (RUNNING, PENDING ...) by number of the SLURM jobs that are queued or running.

    Asks ``squeue`` once for the numbers in ``jobs`` and once for jobs named ``run``, Snakemake's
    SLURM run ID. None when there is no squeue here or it does not answer.
    """
    squeue = shutil.which("squeue")
    if squeue is None:
        return None
    # Without states squeue lists what waits, runs or is about to end, and nothing else.
    numbers = ",".join(sorted(set(jobs)))
    queries = [["--name", run]] if run else []
    queries += [["--jobs", numbers]] if numbers else []
    found: dict[str, str] = {}
    for query in queries:
        command = [squeue, "--noheader", "--format", "%i %T", *query]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        except (subprocess.SubprocessError, OSError):
            return None
        # Its answer for one number that it has long forgotten.
        if done.returncode and "Invalid job id" not in done.stderr:
            return None
        found |= dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip())
    return found
