"""Stage scripts without their work: every job only leaves its outputs and its fingerprint.

On PYTHONPATH this lets Snakemake run the real rules in seconds. Only jobs are concerned, never
Snakemake itself; what a job imports of the project is replaced by modules that do nothing.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

REAL = {"spinegrade", "spinegrade.errors", "spinegrade.runtime"}
REAL |= {
    f"spinegrade.runtime.{name}"
    for name in ("files", "impersonal", "made_note", "processes", "run_lock", "status")
}


def run_stage(job: object, main: object) -> None:
    """Write every output of the job, empty, and what it was made with."""
    from spinegrade.runtime.made_note import leave_note

    for path in map(Path, job.output):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    leave_note(job)


class _Nothing(ModuleType):
    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return run_stage if name == "run_stage" else MagicMock()


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: object, target: object = None) -> object:
        if name.split(".")[0] != "spinegrade" or name in REAL:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Nothing(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


if any("/.snakemake/scripts/" in word for word in sys.orig_argv):
    sys.meta_path.insert(0, _StandIn())
