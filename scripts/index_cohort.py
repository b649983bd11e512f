"""Stage index_cohort: the cohort's CSV files and folders to typed tables."""

from pathlib import Path
from typing import Any

from spinegrade.cohort.index import index_cohort
from spinegrade.runtime.stage import run_stage


def main(job: Any) -> None:
    """Write studies, series, labels, landmarks and rejected to the folder of the outputs."""
    folder = Path(job.output.studies).parent
    given = job.params
    index_cohort(given.root, given.shards, folder, given.labels_alone, given.trains)


run_stage(snakemake, main)
