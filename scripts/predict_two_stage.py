"""Stage predict_two_stage: out-of-fold and new predictions of one grader of crops."""

from spinegrade.runtime.stage import run_stage
from spinegrade.training.apply import predict_grader
from spinegrade.training.stage_jobs import predict_job


def main(job):
    """Predict every study by the networks that did not see it, and write both tables."""
    given = {"shapes": job.params.shapes}
    predict_grader(
        predict_job(job, "grade", "views", job.wildcards.grader, job.params.grader, given)
    )


run_stage(snakemake, main)
