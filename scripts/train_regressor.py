"""Stage train_regressor: one regressor, trained on the studies outside one fold."""

from spinegrade.localise.axial_levels import kind as axial_levels  # noqa: F401
from spinegrade.localise.coordinates import kind  # noqa: F401
from spinegrade.runtime.stage import run_stage
from spinegrade.training.job import train_learner
from spinegrade.training.stage_jobs import train_job


def main(job):
    """Train and write weights and history."""
    block = job.params.regressor
    which = "axial_levels" if block["kind"] == "axial_levels" else "coordinates"
    train_learner(train_job(job, "localise", which, job.wildcards.detector, block))


run_stage(snakemake, main)
