"""Stage train_two_stage: one fold of one grader of crops."""

from spinegrade.runtime.stage import run_stage
from spinegrade.training.learn import train_learner
from spinegrade.training.stage_jobs import train_job


def main(job):
    """Train and write weights and history."""
    given = {"shapes": job.params.shapes}
    train_learner(train_job(job, "grade", "views", job.wildcards.grader, job.params.grader, given))


run_stage(snakemake, main)
