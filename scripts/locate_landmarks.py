"""Stage locate_landmarks: annotated points of one shard to stack, slice and patient space."""

from spinegrade.convert.landmarks import locate_shard
from spinegrade.runtime.stage import run_stage


def main(job):
    """Locate the shard's landmarks."""
    locate_shard(
        job.input.landmarks,
        job.input.studies,
        {
            "stacks": job.input.stacks,
            "slices": job.input.slices,
            "copies": job.input.copies,
            "rejected": job.input.refused,
        },
        int(job.wildcards.shard),
        job.params.leave_out,
        job.output.located,
        job.output.rejected,
    )


run_stage(snakemake, main)
