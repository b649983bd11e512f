"""runs/<run>.json: what a run was made with, of what and where, beside its results.

Each run has its own, so that none overwrites what another says of results that stay. Enough to
repeat the run, and nothing that names a patient or a user: no study, no host, and paths below a
home folder begin with ``~``.
"""

from __future__ import annotations

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
from spinegrade.runtime.impersonal import impersonal
from spinegrade.runtime.made_note import made_by
from spinegrade.runtime.run_lock import read_record
from spinegrade.runtime.versions import package_versions

FOLDER = "runs"
# The one record of the last run, as it was kept before each run had its own.
_SINGLE = "run.json"
VERSION = "version.json"
# Of the layout of results/<cohort>: one more whenever results of before cannot be gone on with.
FORMAT = 1
DATA = ("cohort/*.parquet", "convert/*/*.parquet")
# Sorts by time.
_NAME = "%Y-%m-%dT%H-%M-%SZ"
OUTPUTS = ("combine/probabilities.parquet", "combine/score.json", "combine/submission.csv")


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
            f"{results}",
            code="RESULTS_OF_ANOTHER_VERSION",
        )
    if cohort is not None and known["cohort"] != cohort:
        raise SpinegradeError(
            f"{results} holds the results of cohort {known['cohort']!r}, so it was renamed or "
            f"copied: give it its name back (results/{known['cohort']}), or set cohort.name: "
            f"{known['cohort']}, or, if that is meant, remove {file}",
            code="RESULTS_OF_ANOTHER_COHORT",
        )


def write_version(results: str | Path, cohort: str) -> None:
    """Mark a results folder as of this layout and cohort."""
    known = {"format": FORMAT, "cohort": cohort, "spinegrade": spinegrade.__version__}
    write_json(Path(results, VERSION), known)


def begin_run(results: str | Path) -> str:
    """A name for a run that begins: the time in UTC, after those of all runs before.

    To be called under the results folder's lock.
    """
    folder = Path(results, FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    single = Path(results, _SINGLE)
    if single.is_file():
        began = datetime.fromisoformat(read_json(single)["began"])
        single.replace(folder / f"{began.strftime(_NAME)}.json")
    name, number = datetime.now(UTC).strftime(_NAME), 1
    while (folder / f"{name}.json").exists():
        number += 1
        name = f"{datetime.now(UTC).strftime(_NAME)}-{number}"
    return name


def record_file(results: str | Path, run: str) -> Path:
    """Where the record of a run is kept."""
    return Path(results, FOLDER, f"{run}.json")


def runs_in(results: str | Path) -> list[str]:
    """Names of all runs that are recorded, in the order in which they began."""
    return sorted(file.stem for file in Path(results, FOLDER).glob("*.json"))


def run_in_progress(results: str | Path) -> str | None:
    """Name of the run that holds or held the results last; None where none did."""
    head = read_record(results)
    return head and head.get("run")


def record_in_progress(results: str | Path) -> str | None:
    """The record of that run, as far as it is written."""
    run = run_in_progress(results)
    return str(record_file(results, run)) if run else None


def read_run_config(results: str | Path, run: str | None) -> dict[str, Any] | None:
    """The configuration of a run, or None where it is not recorded."""
    file = record_file(results, run or "none")
    return read_json(file)["config"] if file.is_file() else None


def start_record(
    run: str,
    project: Path,
    config: dict[str, Any],
    command: list[str],
    executor: str,
    code: dict[str, list[str]],
    planned: dict[str, int],
) -> dict[str, Any]:
    """The record of a run that begins, under its name ``run``.

    ``code``: fingerprints of every rule's code; ``planned``: jobs of this run by rule.
    """
    return {
        "format": FORMAT,
        "run": run,
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
        "made_by": {},
    }


def finish_record(
    record: dict[str, Any],
    results: Path,
    rules: list[str],
    outcome: str,
    failures: list[dict[str, Any]],
) -> dict[str, Any]:
    """The record with what is known at the end: time and memory by rule, digests, failures.

    ``made_by`` tells which run made each file that has a digest: this one, or one before.
    """
    makers = made_by(results)
    data, outputs = _digests(results, DATA), _digests(results, OUTPUTS)
    return {
        **record,
        "ended": _now(),
        "outcome": outcome,
        "failures": failures,
        "rules": _times(results / "benchmarks", rules),
        "data": data,
        "outputs": outputs,
        "made_by": {file: makers.get(file) for file in (*data, *outputs)},
    }


def write_record(results: Path, record: dict[str, Any]) -> None:
    """Write the record of a run.

    The configuration keeps its order: learners work in it, and a run that takes
    them in another order is another run.
    """
    file = record_file(results, record["run"])
    write_text(file, json.dumps(record, indent=2, allow_nan=False) + "\n")


def end_killed(results: Path, run: str | None) -> None:
    """Say in the record of a run that was killed how it ended, where it had begun one."""
    file = record_file(results, run or "none")
    if file.is_file():
        write_record(results, {**read_json(file), "outcome": "killed"})


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
