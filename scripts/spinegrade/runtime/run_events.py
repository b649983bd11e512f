"""What Snakemake does, event by event: planned, sent, finished and failed jobs of a run."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spinegrade.runtime.files import write_json
from spinegrade.runtime.status import FOLDER, status_of

WORKFLOW = "workflow.json"
_SLURM_RUN = re.compile(r"SLURM run ID: (\S+)")


class RunEvents(logging.Handler):
    """Handles the records that Snakemake logs and keeps results/<cohort>/status/workflow.json.

    Keys: planned (pairs of rule and jobs), finished (jobs by rule), active and failed (rule,
    wildcards, log, began by Snakemake's job number), for jobs of ``rules`` alone and in their
    order. ``on_plan(planned)`` is called when the jobs are known, ``on_slurm(run)`` with the
    name that all SLURM jobs of the run bear.
    """

    def __init__(
        self,
        results: Path,
        rules: list[str],
        on_plan: Callable[[dict[str, int]], None],
        on_slurm: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._file = results / FOLDER / WORKFLOW
        self._rules = rules
        self._on_plan = on_plan
        self._on_slurm = on_slurm
        self.planned: dict[str, int] = {}
        self.finished: Counter[str] = Counter()
        self.active: dict[int, dict[str, Any]] = {}
        self.failed: dict[int, dict[str, Any]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Note what a record says; an error here must not end a run that could go on."""
        try:
            if self._note(record):
                self.write()
        except Exception:
            self.handleError(record)

    def _note(self, record: logging.LogRecord) -> bool:
        event = getattr(record, "event", None)
        if event == "run_info":
            stats = record.stats
            self.planned = {rule: int(stats[rule]) for rule in self._rules if rule in stats}
            self._on_plan(self.planned)
        elif event == "job_info" and record.rule_name in self._rules:
            job = {
                "rule": record.rule_name,
                "wildcards": {k: str(v) for k, v in (record.wildcards or {}).items()},
                "log": next(iter(record.log), None),
                "began": time.time(),
            }
            if job["log"] is not None:
                # What an earlier attempt told of itself is no longer true.
                status_of(job["log"]).unlink(missing_ok=True)
            self.active[record.jobid] = job
            self.failed.pop(record.jobid, None)
        elif event == "job_finished":
            job = self.active.pop(record.job_id, None)
            if job is not None:
                self.finished[job["rule"]] += 1
        elif event == "job_error":
            job = self.active.pop(record.jobid, None)
            if job is not None:
                self.failed[record.jobid] = job
        else:
            run = _SLURM_RUN.search(record.getMessage()) if event is None and record.msg else None
            if run:
                self._on_slurm(run.group(1))
            return False
        return True

    def write(self) -> None:
        """Write what is known to workflow.json."""
        known = {
            "planned": list(self.planned.items()),
            "finished": dict(self.finished),
            "active": {str(number): job for number, job in self.active.items()},
            "failed": {str(number): job for number, job in self.failed.items()},
        }
        write_json(self._file, known)
