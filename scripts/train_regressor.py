"""Stage train_regressor: one regressor, trained on the studies outside one fold."""

from spinegrade.localise.coordinates.settings import kind_of
from spinegrade.runtime.stage import run_stage
from spinegrade.training.learn import train_learner
from spinegrade.training.stage_jobs import train_job


def main(job):
    """Train and write weights and history."""
    block = job.params.regressor
    train_learner(train_job(job, "localise", kind_of(block), job.wildcards.detector, block))


run_stage(snakemake, main)
