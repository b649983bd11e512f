"""Run time and memory by rule, from the benchmark tables that Snakemake writes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def rule_of(stem: str, rules: list[str]) -> str:
    """The rule that a benchmark belongs to: the longest rule name that it begins with."""
    owners = [rule for rule in rules if stem.startswith(rule)]
    return max(owners, key=len) if owners else stem


def read_benchmarks(folder: Path, rules: list[str]) -> pd.DataFrame:
    """Columns rule, jobs, seconds (summed), longest_s, memory_mb (largest peak), by rule.

    Reads every ``*.tsv`` below ``folder``; memory is null where Snakemake could not measure a
    job (shorter than its sampling interval).
    """
    rows = []
    for path in sorted(folder.rglob("*.tsv")):
        measured = pd.read_csv(path, sep="\t", na_values=["NA", "-"])
        name = path.relative_to(folder).with_suffix("").as_posix()
        rows.append(
            {
                "rule": rule_of(name.replace("/", "_"), rules),
                "seconds": float(measured["s"].sum()),
                "memory_mb": pd.to_numeric(measured["max_rss"], errors="coerce").max(),
            }
        )
    table = pd.DataFrame(rows, columns=["rule", "seconds", "memory_mb"])
    grouped = table.groupby("rule", as_index=False).agg(
        jobs=("seconds", "size"),
        seconds=("seconds", "sum"),
        longest_s=("seconds", "max"),
        memory_mb=("memory_mb", "max"),
    )
    return grouped.sort_values("seconds", ascending=False, ignore_index=True)
