"""Stages train_localiser and train_grader: one fold of one learner, of whichever kind."""

from spinegrade.runtime.stage import run_stage
from spinegrade.training.job import train_learner
from spinegrade.training.stage_jobs import train_job


def main(job):
    """Train and write weights and history."""
    train_learner(train_job(job))


run_stage(snakemake, main)
