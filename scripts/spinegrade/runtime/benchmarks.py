"""Seconds and memory of every job, from the benchmark tables that Snakemake writes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any


def rule_of(stem: str, rules: list[str]) -> str:
    """The rule that a benchmark belongs to: the longest rule name that it begins with."""
    owners = [rule for rule in rules if stem.startswith(rule)]
    return max(owners, key=len) if owners else stem


def job_benchmarks(folder: Path, rules: list[str]) -> list[dict[str, Any]]:
    """rule, seconds and memory_mb (peak, resident) of every ``*.tsv`` below ``folder``.

    Memory is None where Snakemake could not measure a job (shorter than its sampling interval).
    """
    found = []
    for path in sorted(folder.rglob("*.tsv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        name = path.relative_to(folder).with_suffix("").as_posix()
        peaks = [float(row["max_rss"]) for row in rows if row["max_rss"] not in ("NA", "-", "")]
        found.append(
            {
                "rule": rule_of(name.replace("/", "_"), rules),
                "seconds": sum(float(row["s"]) for row in rows),
                "memory_mb": max(peaks, default=None),
            }
        )
    return found
