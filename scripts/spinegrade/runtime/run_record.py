"""run.json: what a run was made with, of what and where, beside its results.

Enough to repeat the run, and nothing that names a patient or a user: no study, no host, and
paths below a home folder begin with ``~``.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

import spinegrade
from spinegrade.errors import SpinegradeError
from spinegrade.runtime.benchmarks import job_benchmarks
from spinegrade.runtime.files import read_json, write_json, write_text
from spinegrade.runtime.versions import package_versions

RECORD = "run.json"
VERSION = "version.json"
# Of the layout of results/<cohort>: one more whenever results of before cannot be gone on with.
FORMAT = 1
DATA = ("cohort/*.parquet", "convert/*/*.parquet")
OUTPUTS = ("ensemble/probabilities.parquet", "ensemble/score.json", "ensemble/submission.csv")


def check_version(results: str | Path, cohort: str | None) -> None:
    """Refuse results of another layout, or of another cohort than ``cohort`` (None: of any)."""
    file = Path(results, VERSION)
    if not file.exists():
        return
    known = read_json(file)
    if known["format"] != FORMAT:
        raise SpinegradeError(
            f"{results} was made by spinegrade {known['spinegrade']}, which lays out results "
            f"otherwise (format {known['format']}; spinegrade {spinegrade.__version__} writes "
            f"{FORMAT}): give this run another cohort.name, or go on with that version, or remove "
            f"{results}"
        )
    if cohort is not None and known["cohort"] != cohort:
        raise SpinegradeError(
            f"{results} holds the results of cohort {known['cohort']!r}, so it was renamed or "
            f"copied: give it its name back (results/{known['cohort']}), or set cohort.name: "
            f"{known['cohort']}, or, if that is meant, remove {file}"
        )


def write_version(results: str | Path, cohort: str) -> None:
    """Mark a results folder as of this layout and cohort."""
    known = {"format": FORMAT, "cohort": cohort, "spinegrade": spinegrade.__version__}
    write_json(Path(results, VERSION), known)


def start_record(
    project: Path,
    config: dict[str, Any],
    command: list[str],
    executor: str,
    code: dict[str, list[str]],
    planned: dict[str, int],
) -> dict[str, Any]:
    """The record of a run that begins.

    ``code``: fingerprints of every rule's code; ``planned``: jobs of this run by rule.
    """
    return {
        "format": FORMAT,
        "command": impersonal(" ".join(command)),
        "executor": executor,
        "began": _now(),
        "ended": None,
        "outcome": "running",
        "failures": [],
        "seed": config["runtime"]["seed"],
        "config": impersonal(json.loads(json.dumps(config, default=str))),
        "packages": dict(package_versions()),
        "git": _git(project),
        "machine": _machine(),
        "code": code,
        "planned": planned,
        "rules": {},
        "data": {},
        "outputs": {},
    }


def finish_record(
    record: dict[str, Any],
    results: Path,
    rules: list[str],
    outcome: str,
    failures: list[dict[str, Any]],
) -> dict[str, Any]:
    """The record with what is known at the end: time and memory by rule, digests, failures."""
    return {
        **record,
        "ended": _now(),
        "outcome": outcome,
        "failures": failures,
        "rules": _times(results / "benchmarks", rules),
        "data": _digests(results, DATA),
        "outputs": _digests(results, OUTPUTS),
    }


def write_record(results: Path, record: dict[str, Any]) -> None:
    """Write run.json.

    The configuration keeps its order: detectors and classifiers work in it, and a run that takes
    them in another order is another run.
    """
    write_text(results / RECORD, json.dumps(record, indent=2, allow_nan=False) + "\n")


def impersonal(value: Any) -> Any:
    """A JSON value whose texts name no home folder and no user."""
    if isinstance(value, dict):
        return {key: impersonal(part) for key, part in value.items()}
    if isinstance(value, list):
        return [impersonal(part) for part in value]
    if not isinstance(value, str):
        return value
    here, home, user = Path.cwd(), Path.home(), getpass.getuser()
    for folder, sign in ((f"{here}/", ""), (str(home), "~")):
        if len(folder) > 1:
            value = value.replace(folder, sign)
    return value.replace(f"/{user}/", "/<user>/")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git(project: Path) -> dict[str, Any] | None:
    """Commit of the project and whether files differ from it; None where git does not know it."""

    def ask(*words: str) -> str:
        command = ["git", "-C", str(project), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # A project that lies inside another repository has no commit of its own.
        if Path(ask("rev-parse", "--show-toplevel")).resolve() != project.resolve():
            return None
        return {"commit": ask("rev-parse", "HEAD"), "modified": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _machine() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        names = [line for line in listed.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    gpus: list[str] = []
    if query := shutil.which("nvidia-smi"):
        command = [query, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        gpus = done.stdout.strip().splitlines() if done.returncode == 0 else []
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpus,
    }


def _times(folder: Path, rules: list[str]) -> dict[str, dict[str, Any]]:
    by_rule = defaultdict(list)
    for job in job_benchmarks(folder, rules):
        by_rule[job["rule"]].append(job)
    return {
        rule: {
            "jobs": len(jobs),
            "seconds": round(sum(job["seconds"] for job in jobs), 1),
            "memory_mb": max((j["memory_mb"] for j in jobs if j["memory_mb"]), default=None),
        }
        for rule, jobs in sorted(by_rule.items())
    }


def _digests(results: Path, patterns: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of every file that a pattern finds, by its path under ``results``."""
    found = {}
    for pattern in patterns:
        for file in sorted(results.glob(pattern)):
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            found[file.relative_to(results).as_posix()] = digest
    return found
