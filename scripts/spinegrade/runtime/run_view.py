"""How far a run is, read from what its main process and its jobs leave beside the results."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from spinegrade.runtime.benchmarks import job_benchmarks
from spinegrade.runtime.processes import is_alive, slurm_jobs
from spinegrade.runtime.progress import format_seconds
from spinegrade.runtime.run_events import WORKFLOW
from spinegrade.runtime.run_lock import read_record
from spinegrade.runtime.status import FOLDER, status_in

_LIVING = {True: "running", False: "killed", None: "unknown"}
_ORDER = ("running", "queued", "failed", "dead", "done")
_COLUMNS = ("done", "running", "queued", "waiting", "failed", "dead")
_HEADS = {
    "running": "Running",
    "queued": "Sent, not begun",
    "failed": "Failed",
    "dead": "Dead: sent or begun, and the process is gone",
}


def read_run(results: str | Path) -> dict[str, Any] | None:
    """The run that holds or held ``results`` last, as plain values; None where there was none.

    ``state``: running, killed, unknown (on another host), done, failed or released. ``jobs``: what
    is running, queued, failed, or dead (begun or sent, and its process is gone). ``rules``: jobs
    by rule, with the mean seconds of its jobs so far. ``seconds_left``: of the running and waiting
    jobs one after another, where known.
    """
    results = Path(results)
    head = read_record(results)
    if head is None:
        return None
    known = _read(results / FOLDER / WORKFLOW) or {}
    sent = [*known.get("active", {}).values(), *known.get("failed", {}).values()]
    told = [_read(status_in(results, job["log"])) if job["log"] else None for job in sent]
    numbers = [s["slurm_job"] for s in (head, *told) if s and s["slurm_job"]]
    asked = bool(numbers or head["slurm_run"])
    slurm = slurm_jobs(numbers, head["slurm_run"]) if asked else None
    state = head["outcome"] or _LIVING[is_alive(head, slurm)]
    waiting = "queued" if state in ("running", "unknown") or slurm else "dead"
    jobs = [
        _job(job, status, slurm, "failed" if number >= len(known["active"]) else waiting)
        for number, (job, status) in enumerate(zip(sent, told, strict=True))
    ]
    rules = _rules(known, jobs, results / "benchmarks")
    return {
        "results": str(results),
        "state": state,
        "head": head,
        "jobs": sorted(jobs, key=lambda job: (_ORDER.index(job["state"]), job["began"])),
        "rules": rules,
        "seconds_left": _seconds_left(rules, jobs),
    }


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _job(
    job: dict[str, Any],
    told: dict[str, Any] | None,
    slurm: dict[str, str] | None,
    otherwise: str,
) -> dict[str, Any]:
    """One job: what Snakemake said of it, and what it tells of itself where it has begun."""
    found = {**job, "state": otherwise, "progress": None, "error": None, "where": None}
    found["seconds"] = round(time.time() - job["began"], 1)
    if told is None:
        return found
    place = f"SLURM job {told['slurm_job']}" if told["slurm_job"] else f"pid {told['pid']}"
    end = time.time() if told["state"] == "running" else told["told"]
    found |= {"where": f"{place} on {told['host']}", "seconds": round(end - told["began"], 1)}
    found |= {"progress": told["progress"], "error": told["error"]}
    if otherwise != "failed":
        # On another host without SLURM nobody can tell: then its own word stands.
        gone = told["state"] == "running" and is_alive(told, slurm) is False
        found["state"] = "dead" if gone else told["state"]
    progress = found["progress"]
    if progress and progress["seconds_left"] is not None:
        left = progress["seconds_left"] - (time.time() - told["told"])
        progress["seconds_left"] = max(round(left, 1), 0.0)
    return found


def _rules(known: dict[str, Any], jobs: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    planned = dict(known.get("planned", []))
    seconds = defaultdict(list)
    for job in job_benchmarks(folder, list(planned)):
        seconds[job["rule"]].append(job["seconds"])
    counts = Counter((job["rule"], job["state"]) for job in jobs)
    rules = {}
    for rule, total in planned.items():
        states = {state: counts[rule, state] for state in _ORDER if state != "done"}
        finished = known["finished"].get(rule, 0) + counts[rule, "done"]
        measured = seconds[rule]
        rules[rule] = {
            "planned": total,
            "done": finished,
            **states,
            "waiting": max(total - finished - sum(states.values()), 0),
            "seconds_a_job": round(sum(measured) / len(measured), 1) if measured else None,
        }
    return rules


def _seconds_left(rules: dict[str, Any], jobs: list[dict[str, Any]]) -> float:
    left = sum(
        (rule["waiting"] + rule["queued"]) * (rule["seconds_a_job"] or 0.0)
        for rule in rules.values()
    )
    running = (job["progress"] for job in jobs if job["state"] == "running" and job["progress"])
    return round(left + sum(progress["seconds_left"] or 0.0 for progress in running), 1)


def table_of(run: dict[str, Any]) -> str:
    """The run as text: how it stands, its jobs, and the counts by rule."""
    head, rules = run["head"], run["rules"]
    end = head["ended"] or time.time()
    words = {"killed": "was killed", "unknown": "has no end on record"}
    how = words.get(run["state"], run["state"])
    lines = [
        f"{run['results']}: {how}, {format_seconds(end - head['began'])} after it began "
        f"(pid {head['pid']} on {head['host']}, executor {head['executor']})"
    ]
    if rules:
        totals = {n: sum(rule[n] for rule in rules.values()) for n in ("planned", *_COLUMNS)}
        parts = [f"{totals[name]} {name}" for name in _COLUMNS[1:] if totals[name]]
        lines[0] += f"\n{totals['done']} of {totals['planned']} jobs done"
        lines[0] += "".join(f", {part}" for part in parts)
        if run["state"] == "running" and run["seconds_left"]:
            lines[0] += f"; about {format_seconds(run['seconds_left'])} of work left, one by one"
    for state in ("running", "queued", "failed", "dead"):
        chosen = [job for job in run["jobs"] if job["state"] == state]
        lines += [f"\n{_HEADS[state]}"] if chosen else []
        lines += [f"  {line}" for job in chosen for line in _job_lines(job)]
    if rules:
        width = max(len(rule) for rule in rules)
        heads = ("planned", *_COLUMNS, "s a job")
        lines.append("\n" + "rule".ljust(width) + "".join(f"{head:>9}" for head in heads))
        for name, rule in rules.items():
            cells = [rule["planned"], *(rule[column] for column in _COLUMNS)]
            last = "" if rule["seconds_a_job"] is None else f"{rule['seconds_a_job']:.1f}"
            counts = "".join(f"{count or '.':>9}" for count in cells)
            lines.append(f"{name:<{width}}{counts}{last:>9}")
    return "\n".join(lines)


def _job_lines(job: dict[str, Any]) -> list[str]:
    wildcards = " ".join(f"{name}={value}" for name, value in job["wildcards"].items())
    lines = [f"{job['rule']} {wildcards}".rstrip() + f", {format_seconds(job['seconds'])}"]
    if job["where"]:
        lines[0] += f", {job['where']}"
    progress = job["progress"]
    if progress:
        line = f"    {progress['what']} {progress['done']}/{progress['total']}"
        if progress["seconds_left"] is not None:
            line += f", about {format_seconds(progress['seconds_left'])} left"
        lines.append(line + (f"; {progress['note']}" if progress["note"] else ""))
    if job["error"]:
        lines.append(f"    {job['error'].splitlines()[0]}")
    if job["state"] in ("failed", "dead") and job["log"]:
        lines.append(f"    {job['log']}")
    return lines
