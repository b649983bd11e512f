"""Stage predict_classifier: out-of-fold and new predictions of one classifier."""

from spinegrade.runtime.stage import run_stage
from spinegrade.training.apply import predict_grader
from spinegrade.training.stage_jobs import predict_job


def main(job):
    """Predict every study by the models that did not see it, and write both tables."""
    given = {"shapes": job.params.shapes}
    predict_grader(
        predict_job(job, "grade", "cells", job.wildcards.classifier, job.params.classifier, given)
    )


run_stage(snakemake, main)
