"""Stage make_phantom: a phantom cohort in the competition's own layout."""

from pathlib import Path
from typing import Any

from spinegrade.phantom.cohort import write_cohort
from spinegrade.phantom.study import PhantomSettings
from spinegrade.runtime.stage import run_stage


def main(job: Any) -> None:
    """Write the cohort beside the first declared output."""
    settings = PhantomSettings.from_config(dict(job.params.settings))
    write_cohort(settings, Path(str(job.output.labels)).parent, int(job.threads))


# Worker processes import this file again: only the job itself may start the stage.
if __name__ == "__main__":
    run_stage(snakemake, main)
