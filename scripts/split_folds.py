"""Stage split_folds: a fold for every train study, from a stable rule or the user's file."""

from typing import Any

from spinegrade.cohort.folds import split_folds
from spinegrade.runtime.stage import run_stage
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.labels import LABELS
from spinegrade.tables.studies import STUDIES


def main(job: Any) -> None:
    """Read studies and labels, write folds."""
    folds = split_folds(
        read_table(job.input.studies, STUDIES),
        read_table(job.input.labels, LABELS),
        folds=job.params.folds,
        salt=job.params.salt,
        folds_file=str(job.input.get("folds_file") or "") or None,
    )
    write_table(job.output.folds, folds, FOLDS)


run_stage(snakemake, main)
