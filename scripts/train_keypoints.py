"""Stage train_keypoints: one detector, trained on the studies outside one fold."""

from spinegrade.runtime.stage import run_stage
from spinegrade.training.learn import train_learner
from spinegrade.training.stage_jobs import train_job


def main(job):
    """Train and write weights and history."""
    train_learner(
        train_job(job, "localise", "heatmap", job.wildcards.detector, job.params.detector)
    )


run_stage(snakemake, main)
