"""Stage infer_keypoints: points of one detector in one shard, out of fold."""

from spinegrade.runtime.stage import run_stage
from spinegrade.training.apply import infer_localiser
from spinegrade.training.stage_jobs import predict_job


def main(job):
    """Find the points and write them with what was not found."""
    infer_localiser(
        predict_job(job, "localise", "heatmap", job.wildcards.detector, job.params.detector)
    )


run_stage(snakemake, main)
