"""Stage predict_grader: what one grader predicts of all studies, out of fold and of new ones."""

from spinegrade.runtime.stage import run_stage
from spinegrade.training.predict_job import predict_grader
from spinegrade.training.stage_jobs import predict_job


def main(job):
    """Predict every study by the models that did not see it, and write the tables."""
    predict_grader(predict_job(job))


run_stage(snakemake, main)
