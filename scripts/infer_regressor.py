"""Stage infer_regressor: points of one regressor in one shard, out of fold."""

from spinegrade.localise.axial_levels import kind as axial_levels  # noqa: F401
from spinegrade.localise.coordinates import kind  # noqa: F401
from spinegrade.runtime.stage import run_stage
from spinegrade.training.job import infer_localiser
from spinegrade.training.stage_jobs import predict_job


def main(job):
    """Find the points and write them with what was not found."""
    block = job.params.regressor
    which = "axial_levels" if block["kind"] == "axial_levels" else "coordinates"
    given = {"xy_from": job.params.xy_from}
    infer_localiser(predict_job(job, "localise", which, job.wildcards.detector, block, given))


run_stage(snakemake, main)
