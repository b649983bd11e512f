"""Stage split_folds: a fold for every train study, from a stable rule or the user's file."""

from typing import Any

from spinegrade.cohort.folds import split_folds
from spinegrade.runtime.stage import run_stage
from spinegrade.tables import read_table, write_table


def main(job: Any) -> None:
    """Read studies and labels, write folds."""
    folds = split_folds(
        read_table(job.input.studies, "studies"),
        read_table(job.input.labels, "labels"),
        folds=job.params.folds,
        salt=job.params.salt,
        folds_file=str(job.input.get("folds_file") or "") or None,
    )
    write_table(job.output.folds, folds, "folds")


run_stage(snakemake, main)
