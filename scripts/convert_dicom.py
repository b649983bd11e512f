"""Stage convert_dicom: the DICOM series of one shard to volumes, slice tables and refusals."""

from pathlib import Path

from spinegrade.convert.shard import convert_shard
from spinegrade.runtime.stage import run_stage


def main(job):
    """Convert the shard."""
    convert_shard(
        job.input.series,
        int(job.wildcards.shard),
        job.params.root,
        Path(job.output.stacks).parent.parent,
        job.params.settings,
        job.params.code,
    )


run_stage(snakemake, main)
