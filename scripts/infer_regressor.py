"""Stage infer_regressor: points of one regressor in one shard, out of fold."""

from spinegrade.localise.coordinates.settings import kind_of
from spinegrade.runtime.stage import run_stage
from spinegrade.training.apply import infer_localiser
from spinegrade.training.stage_jobs import predict_job


def main(job):
    """Find the points and write them with what was not found."""
    block = job.params.regressor
    given = {"xy_from": job.params.xy_from}
    infer_localiser(
        predict_job(job, "localise", kind_of(block), job.wildcards.detector, block, given)
    )


run_stage(snakemake, main)
