"""Stage check_cohort: what will be converted whole, in part or not at all, from headers."""

import os
from typing import Any

import pandas as pd
from spinegrade.cohort.left_out import ACTIONS
from spinegrade.convert.refusals import REFUSALS
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.survey import survey_cohort
from spinegrade.runtime.stage import run_stage
from spinegrade.tables import read_table, write_table


def main(job: Any) -> None:
    """Read the headers of the cohort; write the two tables and the page."""
    # Imported here: worker processes import this file and draw nothing.
    from spinegrade.report.check_page import CheckedCohort, write_page

    block = dict(job.params.settings)
    # --cores may promise more than the machine has.
    processes = min(int(job.threads), os.cpu_count() or 1)
    verdicts, found = survey_cohort(
        job.input.series, job.params.root, ConvertSettings.of(block), processes
    )
    left_out = read_table(job.input.rejected, "rejected")
    rejected = pd.concat([left_out, found], ignore_index=True)
    write_table(job.output.verdicts, verdicts, "verdicts")
    write_table(job.output.rejected, rejected, "rejected")
    advice = {**ACTIONS, **REFUSALS}
    studies = read_table(job.input.studies, "studies")
    checked = CheckedCohort(verdicts, rejected, studies, advice, block)
    write_page(job.output.page, checked, job.params.cohort)


# Worker processes import this file again: only the job itself may start the stage.
if __name__ == "__main__":
    run_stage(snakemake, main)
