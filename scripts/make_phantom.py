"""Stage make_phantom: a phantom cohort in the competition's own layout."""

import os
from pathlib import Path
from typing import Any

from spinegrade.phantom.cohort import write_cohort
from spinegrade.phantom.study import PhantomSettings
from spinegrade.runtime.stage import run_stage


def main(job: Any) -> None:
    """Write the cohort beside the first declared output."""
    settings = PhantomSettings.from_config(dict(job.params.settings))
    # --cores may promise more than the machine has; each process takes 300 MB.
    processes = min(int(job.threads), os.cpu_count() or 1)
    write_cohort(settings, Path(str(job.output.labels)).parent, processes)


# Worker processes import this file again: only the job itself may start the stage.
if __name__ == "__main__":
    run_stage(snakemake, main)
