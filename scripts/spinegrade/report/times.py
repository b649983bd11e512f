"""Run time and memory by rule, from the benchmark tables that Snakemake writes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from spinegrade.runtime.benchmarks import job_benchmarks, rule_of

__all__ = ["read_benchmarks", "rule_of"]


def read_benchmarks(folder: Path, rules: list[str]) -> pd.DataFrame:
    """Columns rule, jobs, seconds (summed), longest_s, memory_mb (largest peak), by rule.

    Memory is null where Snakemake could not measure a job (shorter than its sampling interval).
    """
    columns = {"rule": "str", "seconds": "float64", "memory_mb": "float64"}
    table = pd.DataFrame(job_benchmarks(folder, rules), columns=list(columns)).astype(columns)
    grouped = table.groupby("rule", as_index=False).agg(
        jobs=("seconds", "size"),
        seconds=("seconds", "sum"),
        longest_s=("seconds", "max"),
        memory_mb=("memory_mb", "max"),
    )
    return grouped.sort_values("seconds", ascending=False, ignore_index=True)
