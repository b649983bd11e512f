"""Stage predict_one_stage: grades and points of one network, out of fold and of new studies."""

from spinegrade.runtime.stage import run_stage
from spinegrade.training.apply import predict_grader
from spinegrade.training.stage_jobs import predict_job


def main(job):
    """Predict every study by the networks that did not see it, and write the tables."""
    predict_grader(predict_job(job, "grade", "volumes", job.wildcards.network, job.params.network))


run_stage(snakemake, main)
