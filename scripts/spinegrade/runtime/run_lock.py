"""One run at a time on a results folder, and a run that was killed does not stand in the way.

``results/<cohort>/.run_lock`` is held by flock for the life of the main process and says in JSON
who that is. The kernel lets go of it at any kind of death, so a free lock whose record has no
end was left by a killed run: what Snakemake left locked for it is then unlocked. On a file
system where flock does not reach other hosts, a record from another host is asked about instead.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.processes import is_alive, orphaned_jobs, slurm_jobs, this_process
from spinegrade.runtime.status import FOLDER

NAME = ".run_lock"
RELEASE = "python scripts/tools/status.py {results} --release"


def read_record(results: str | Path) -> dict[str, Any] | None:
    """What the lock of a results folder says of the run that holds or held it last.

    Keys: those of ``this_process``, began and ended (seconds since 1970; no end while it runs
    or when it was killed), outcome, command, executor, slurm_run, run (its name). None without a
    lock.
    """
    file = Path(results, NAME)
    # It is written in place, since the lock lies on the file itself: a reader may come between.
    for _ in range(20):
        try:
            text = file.read_text(encoding="utf-8")
            return json.loads(text) if text else None
        except FileNotFoundError:
            return None
        except json.JSONDecodeError:
            time.sleep(0.05)
    raise SpinegradeError(
        f"{file}: not a lock of spinegrade; remove it if no run is using {results}, and start "
        "again",
        code="LOCK_DAMAGED",
    )


class RunLock:
    """The lock of one results folder; ``acquire`` it before the first job, ``release`` it last."""

    def __init__(self, results: str | Path) -> None:
        self.results = Path(results)
        self._descriptor: int | None = None
        self._record: dict[str, Any] = {}

    def acquire(self, command: str, executor: str) -> dict[str, Any] | None:
        """Take the lock; return the record of a run that was killed before it ended, else None.

        Raises SpinegradeError in one sentence, with nothing touched, when another run lives,
        when jobs of a killed one do, or when nobody can tell.
        """
        self.results.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.results / NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            free = _take(descriptor)
            left = read_record(self.results)
            if not free:
                raise SpinegradeError(_in_use(self.results, left), code="RUN_IN_USE")
            if left is not None and left["ended"] is None:
                self._refuse_what_lives(left)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._record = {
            **this_process(),
            "began": time.time(),
            "ended": None,
            "outcome": None,
            "command": command,
            "executor": executor,
            "slurm_run": None,
            "run": None,
        }
        self._write()
        return left if left is not None and left["outcome"] in (None, "released") else None

    def note(self, **values: Any) -> None:
        """Add to the record what was not known when the lock was taken."""
        self._record.update(values)
        self._write()

    def release(self, outcome: str) -> None:
        """Say how the run ended and let go of the lock."""
        assert self._descriptor is not None, "the lock is not held"
        self.note(ended=time.time(), outcome=outcome)
        os.close(self._descriptor)
        self._descriptor = None

    def _write(self) -> None:
        assert self._descriptor is not None, "the lock is not held"
        text = json.dumps(self._record, indent=2, sort_keys=True).encode() + b"\n"
        os.pwrite(self._descriptor, text, 0)
        os.ftruncate(self._descriptor, len(text))

    def _refuse_what_lives(self, left: dict[str, Any]) -> None:
        jobs = unfinished_jobs(self.results)
        numbers = [job["slurm_job"] for job in (left, *jobs) if job["slurm_job"]]
        asked = left["slurm_run"] is not None or bool(numbers)
        slurm = slurm_jobs(numbers, left["slurm_run"]) if asked else None
        remedy = RELEASE.format(results=self.results)
        alive = is_alive(left, slurm)
        if alive:
            raise SpinegradeError(_in_use(self.results, left), code="RUN_IN_USE")
        if alive is None:
            raise SpinegradeError(
                f"{self.results} was last used by a run on another host ({_who(left)}) that has no "
                "end on record, and from here nobody can tell whether it still runs: start there, "
                f"or, if it is dead, say so with `{remedy}` and start again",
                code="RUN_ON_ANOTHER_HOST",
            )
        if left["slurm_run"] and slurm is None:
            raise SpinegradeError(
                f"{self.results} was last used by a run ({_who(left)}) that was killed, and squeue "
                "does not say whether its SLURM jobs still run: start where squeue answers, or, "
                f"if they are all gone, say so with `{remedy}` and start again",
                code="RUN_OF_UNKNOWN_JOBS",
            )
        if slurm and (queued := sorted(set(slurm) - {left["slurm_job"]})):
            cancel = f"scancel --name {left['slurm_run']}" if left["slurm_run"] else "scancel"
            cancel += "" if left["slurm_run"] else " " + " ".join(queued)
            raise SpinegradeError(
                f"{self.results}: the run before ({_who(left)}) was killed, but {len(queued)} of "
                f"its SLURM jobs are queued or running and would write the same files (squeue "
                f"--jobs {','.join(queued)}): wait for them, or cancel them with `{cancel}`, and "
                "start again",
                code="RUN_WITH_QUEUED_JOBS",
            )
        living = [job for job in jobs if is_alive(job, slurm) is not False]
        names = [f"{job['rule']} (pid {job['pid']} on {job['host']})" for job in living]
        here = {job["pid"] for job in living if job["host"] == socket.gethostname()}
        starting = set(orphaned_jobs(Path.cwd())) - here
        names += [f"one that is starting (pid {pid})" for pid in sorted(starting)]
        if names:
            listed = ", ".join(names)
            kill = " ".join(map(str, sorted(here | starting)))
            end = f"end them with `kill {kill}`" if kill else f"say so with `{remedy}`"
            raise SpinegradeError(
                f"{self.results}: the run before ({_who(left)}) was killed, but jobs of it still "
                f"run and would write the same files: {listed}; wait for them, or {end}, and "
                "start again",
                code="RUN_WITH_LIVING_JOBS",
            )


def release_dead(results: str | Path) -> str:
    """Declare the run that last used ``results`` dead; returns what was done, in a sentence.

    Raises SpinegradeError when that run is known to live.
    """
    left = read_record(results)
    if left is None or left["ended"] is not None:
        return f"{results}: no run has left it locked; nothing to do."
    lock = RunLock(results)
    descriptor = os.open(lock.results / NAME, os.O_RDWR)
    if not _take(descriptor) or is_alive(left):
        os.close(descriptor)
        raise SpinegradeError(_in_use(lock.results, left), code="RUN_IN_USE")
    lock._descriptor, lock._record = descriptor, left
    for job in unfinished_jobs(results):
        Path(results, FOLDER, job["file"]).unlink(missing_ok=True)
    lock.release("released")
    return f"{results}: the run of {_who(left)} is declared dead; the next run goes on from there."


def unfinished_jobs(results: str | Path) -> list[dict[str, Any]]:
    """Status of every job that began and has not said how it ended, with its file's name."""
    found = []
    for path in sorted(Path(results, FOLDER).rglob("*.json")):
        try:
            status = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            continue
        if status.get("state") == "running":
            found.append({**status, "file": path.relative_to(Path(results, FOLDER)).as_posix()})
    return found


def unlock_snakemake(folder: str | Path, results: str | Path, trained: str | Path) -> list[str]:
    """Remove the locks that a killed run on ``results`` left in ``folder``/.snakemake/locks.

    A lock file lists the inputs or outputs of one run. One that names any other cohort's
    results is another run's and stays; ``trained`` is where this run takes models from. Returns
    the names of the files that were removed.
    """
    mine, also = f"{Path(results).as_posix()}/", f"{Path(trained).as_posix()}/"
    everyone = f"{Path(results).parent.as_posix()}/"
    removed = []
    for file in sorted(Path(folder, ".snakemake", "locks").glob("*.lock")):
        listed = file.read_text(encoding="utf-8").splitlines()
        made = [path for path in listed if path.startswith(everyone)]
        if any(p.startswith(mine) for p in made) and all(p.startswith((mine, also)) for p in made):
            file.unlink()
            removed.append(file.name)
    return removed


def _take(descriptor: int) -> bool:
    """Lock an open file; False when another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # Some cluster file systems have no flock: the record alone then tells who is there.
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
    return True


def _who(record: dict[str, Any]) -> str:
    since = datetime.fromtimestamp(record["began"]).strftime("%Y-%m-%d %H:%M")
    return f"pid {record['pid']} on {record['host']}, begun {since}"


def _in_use(results: Path, record: dict[str, Any] | None) -> str:
    who = f" ({_who(record)})" if record else ""
    return (
        f"{results} is in use by another run{who}: wait for it (python scripts/tools/status.py "
        f"{results} shows how far it is), or give this run another cohort.name"
    )
