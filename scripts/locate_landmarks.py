"""Stage locate_landmarks: annotated points of one shard to stack, slice and patient space."""

from spinegrade.convert.landmarks import locate_shard
from spinegrade.runtime.stage import run_stage


def main(job):
    """Locate the shard's landmarks."""
    locate_shard(
        job.input.landmarks,
        job.input.studies,
        job.input.stacks,
        job.input.slices,
        int(job.wildcards.shard),
        job.output.located,
        job.output.rejected,
    )


run_stage(snakemake, main)
