"""Stage prepare_canvases: the stacks of one shard as graders of whole series see them."""

from spinegrade.grade.volumes.prepared import prepare_volumes
from spinegrade.runtime.stage import run_stage


def main(job):
    """Write the canvases of the shard's stacks."""
    prepare_volumes(
        stacks_path=job.input.stacks,
        target=job.params.target,
        canvas_px=job.params.canvas_px,
        volumes_path=job.output.volumes,
    )


run_stage(snakemake, main)
