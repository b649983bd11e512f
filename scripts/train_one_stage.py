"""Stage train_one_stage: one fold of one network."""

from spinegrade.runtime.stage import run_stage
from spinegrade.training.learn import train_learner
from spinegrade.training.stage_jobs import train_job


def main(job):
    """Train and write weights and history."""
    train_learner(train_job(job, "grade", "volumes", job.wildcards.network, job.params.network))


run_stage(snakemake, main)
