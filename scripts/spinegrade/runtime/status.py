"""What a running job tells of itself: a small file beside the results, for people to look at.

results/<cohort>/logs/<job>.log -> results/<cohort>/status/<job>.json. Nothing that a stage
computes comes from here.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from spinegrade.runtime.files import write_json
from spinegrade.runtime.processes import this_process

FOLDER = "status"
_LOGGER = logging.getLogger("spinegrade")


def status_of(log: str | Path) -> Path:
    """Where the job that logs to ``log`` tells how far it is."""
    parts = list(Path(log).parts)
    parts[len(parts) - 1 - parts[::-1].index("logs")] = FOLDER
    return Path(*parts).with_suffix(".json")


def status_in(results: str | Path, log: str | Path) -> Path:
    """The same, under ``results`` as seen from here: another folder, or another machine."""
    parts = status_of(log).parts
    after = len(parts) - parts[::-1].index(FOLDER)
    return Path(results, FOLDER, *parts[after:])


class StatusFile(logging.Handler):
    """Writes a job's status when it begins, at each progress record that is logged, and at its end.

    Keys: rule, wildcards, log, those of ``this_process``, began and told (seconds since 1970),
    state (running, done or failed), error, progress (those of ``Progress``).
    """

    def __init__(self, log: str | Path, rule: str, wildcards: dict[str, Any]) -> None:
        super().__init__()
        self._path = status_of(log)
        self._status: dict[str, Any] = {
            "rule": rule,
            "wildcards": {name: str(value) for name, value in wildcards.items()},
            "log": str(log),
            **this_process(),
            "began": time.time(),
            "state": "running",
            "error": None,
            "progress": None,
        }
        self._write()

    def emit(self, record: logging.LogRecord) -> None:
        """Take over the progress that a record carries; any other record is passed by."""
        progress = getattr(record, "progress", None)
        if progress is None:
            return
        self._status["progress"] = progress
        self._write()

    def finish(self, error: str | None = None) -> None:
        """Say that the job is done, or that it failed with ``error``."""
        self._status["state"] = "failed" if error else "done"
        self._status["error"] = error
        self._write()

    def _write(self) -> None:
        self._status["told"] = time.time()
        try:
            write_json(self._path, self._status)
        except OSError as error:
            # It is for people alone: what the job computes must not be lost for it.
            _LOGGER.warning("how far this job is cannot be told: %s", error)
