"""Stage infer_localiser: the points of one localiser in one shard, out of fold."""

from spinegrade.runtime.stage import run_stage
from spinegrade.training.predict_job import infer_localiser
from spinegrade.training.stage_jobs import predict_job


def main(job):
    """Find the points and write them with what was not found."""
    infer_localiser(predict_job(job))


run_stage(snakemake, main)
