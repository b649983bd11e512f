"""Stage check_cohort: what will be converted whole, in part or not at all, from headers."""

import os
from typing import Any

import pandas as pd
from spinegrade.annotations.codes import ADVICE
from spinegrade.cohort.left_out import ACTIONS
from spinegrade.convert.refusals import REFUSALS
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.survey import survey_with_places
from spinegrade.convert.survey_landmarks import survey_landmarks
from spinegrade.runtime.stage import run_stage
from spinegrade.tables.annotations import ANNOTATIONS
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.landmarks import LANDMARKS
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.series import SERIES
from spinegrade.tables.studies import STUDIES
from spinegrade.tables.verdicts import VERDICTS


def main(job: Any) -> None:
    """Read the headers of the cohort; write the three tables and the page."""
    # Imported here: worker processes import this file and draw nothing.
    from spinegrade.report.check_annotations import CheckedAnnotations
    from spinegrade.report.check_page import CheckedCohort, write_page

    block = dict(job.params.settings)
    # --cores may promise more than the machine has.
    processes = min(int(job.threads), os.cpu_count() or 1)
    surveyed = survey_with_places(
        job.input.series, job.params.root, ConvertSettings.of(block), processes
    )
    points = survey_landmarks(
        read_table(job.input.landmarks, LANDMARKS),
        read_table(job.input.series, SERIES),
        surveyed,
        job.params.leave_out,
    )
    left_out = read_table(job.input.rejected, REJECTED)
    rejected = pd.concat([left_out, surveyed.rejected], ignore_index=True)
    write_table(job.output.verdicts, surveyed.verdicts, VERDICTS)
    write_table(job.output.rejected, rejected, REJECTED)
    write_table(job.output.annotations, points.annotations, ANNOTATIONS)
    frames = points.frames
    annotations = CheckedAnnotations(
        points.points, points.annotations, frames.studies, len(frames.differing), ADVICE
    )
    studies = read_table(job.input.studies, STUDIES)
    limits = {**block, "annotations.leave_out": job.params.leave_out}
    checked = CheckedCohort(
        surveyed.verdicts,
        rejected,
        studies,
        {**ACTIONS, **REFUSALS},
        limits,
        annotations=annotations,
    )
    write_page(job.output.page, checked, job.params.cohort)


# Worker processes import this file again: only the job itself may start the stage.
if __name__ == "__main__":
    run_stage(snakemake, main)
