"""Stage train_classifier: one fold of one classifier."""

from spinegrade.runtime.stage import run_stage
from spinegrade.training.learn import train_learner
from spinegrade.training.stage_jobs import train_job


def main(job):
    """Train and write weights and history."""
    given = {"shapes": job.params.shapes}
    train_learner(
        train_job(job, "grade", "cells", job.wildcards.classifier, job.params.classifier, given)
    )


run_stage(snakemake, main)
