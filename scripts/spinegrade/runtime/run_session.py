"""One run of the workflow from before its first job to after its last: lock, events, record.

Snakemake locks, plans and works inside ``workflow.execute``, and hooks of a Snakefile
(``onstart`` ...) run only once it has taken its own lock. So this call is wrapped: before it, the
results folder's lock is taken and a dead run's leftovers are unlocked; after it, however it
ends, the record is written. Whatever runs no job (``--dag``, ``--lint``, ``--unlock``,
``--report``) never calls it; dry runs and the Snakemake of a single job pass through.
"""

from __future__ import annotations

import inspect
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from snakemake.exceptions import ApiError, WorkflowError
from snakemake.logging import logger

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.code_parts import keep_parts
from spinegrade.runtime.files import remove_left_parts, write_refusal
from spinegrade.runtime.profile_rules import check_profile_rules
from spinegrade.runtime.run_events import RunEvents
from spinegrade.runtime.run_lock import RunLock, unlock_snakemake
from spinegrade.runtime.run_record import (
    begin_run,
    check_version,
    end_killed,
    finish_record,
    start_record,
    write_record,
    write_version,
)


def watch_run(workflow: Any, config: dict[str, Any], results: str, trained: str) -> None:
    """Have ``workflow`` (Snakemake's, as a Snakefile sees it) lock and record its runs.

    ``results`` is the cohort's results folder, ``trained`` the one that models come from.
    A run that is refused ends with one sentence and no traceback.
    """
    execute = workflow.execute

    def watched(*args: Any, **kwargs: Any) -> Any:
        if not workflow.is_main_process:
            return execute(*args, **kwargs)
        given = inspect.signature(execute).bind(*args, **kwargs).arguments
        plugin = given["executor_plugin"]
        try:
            check_profile_rules(workflow, Path(workflow.basedir))
            check_version(results, config["cohort"]["name"])
            check_version(trained, None)
            if plugin.common_settings.dryrun_exec:
                return execute(*args, **kwargs)
            session = RunSession(workflow, plugin, config, Path(results), Path(trained))
        except SpinegradeError as error:
            raise ApiError(str(error)) from None
        with session:
            try:
                return execute(*args, **kwargs)
            except (OSError, WorkflowError) as error:
                refusal = _of_the_disk(error, results)
                if refusal is None:
                    raise
                raise ApiError(refusal) from None

    workflow.execute = watched


def _of_the_disk(error: Exception, results: str) -> str | None:
    """What to tell of an error of Snakemake's own writing, if the disk is what is wrong.

    Before a job starts Snakemake clears its outputs and makes their folders; it tells of what stops
    it by the system's error itself, or by an error that was raised while that one was handled.
    """
    causes = (error, error.__cause__, error.__context__)
    found = next((one for one in causes if isinstance(one, OSError)), None)
    refusal = found and write_refusal(found, found.filename or results)
    return str(refusal) if refusal else None


class RunSession:
    """Context of one run: the lock is held inside, and how it went is recorded."""

    def __init__(
        self, workflow: Any, plugin: Any, config: dict[str, Any], results: Path, trained: Path
    ) -> None:
        """Take the lock; raises SpinegradeError when the results folder is not free."""
        self._workflow = workflow
        self._plugin = plugin
        self._config = config
        self._results = results
        self._record: dict[str, Any] | None = None
        self._command = [Path(sys.argv[0]).name, *sys.argv[1:]]
        self._lock = RunLock(results)
        killed = self._lock.acquire(" ".join(self._command), plugin.name)
        write_version(results, config["cohort"]["name"])
        self._run = begin_run(results)
        self._lock.note(run=self._run)
        if killed is not None:
            unlock_snakemake(Path.cwd(), results, trained)
            # The lock was refused if a job of that run still worked: nobody is writing these.
            remove_left_parts(results)
            end_killed(results, killed.get("run"))
            logger.info(
                f"The last run on {results} (pid {killed['pid']} on {killed['host']}) was killed; "
                "its locks are removed, and this one goes on from what it had finished."
            )
        # A target that only gathers files is no work.
        self._rules = [rule.name for rule in workflow.rules if rule.output]
        self._events = RunEvents(results, self._rules, self._planned, self._sent_to_slurm)

    def __enter__(self) -> RunSession:
        logger.addHandler(self._events)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        logger.removeHandler(self._events)
        outcome = "done" if kind is None else "failed"
        try:
            if self._record is not None:
                failures = [
                    {name: job[name] for name in ("rule", "wildcards", "log")}
                    for job in self._events.failed.values()
                ]
                record = finish_record(self._record, self._results, self._rules, outcome, failures)
                write_record(self._results, record)
        finally:
            self._lock.release(outcome)

    def _planned(self, jobs: dict[str, int]) -> None:
        """The jobs of this run are known: the record begins (not when files are only touched)."""
        if self._plugin.common_settings.touch_exec:
            return
        code: dict[str, set[str]] = defaultdict(set)
        for job in self._workflow.dag.jobs:
            fingerprint = job.params.get("code")
            if fingerprint:
                code[job.rule.name].add(fingerprint)
                keep_parts(self._results, fingerprint)
        self._record = start_record(
            run=self._run,
            project=Path(self._workflow.basedir),
            config=self._config,
            command=self._command,
            executor=self._plugin.name,
            code={rule: sorted(found) for rule, found in sorted(code.items())},
            planned=jobs,
        )
        write_record(self._results, self._record)

    def _sent_to_slurm(self, run: str) -> None:
        """All SLURM jobs of this run bear this name: whoever finds it dead can ask for them."""
        self._lock.note(slurm_run=run)
