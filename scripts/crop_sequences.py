"""Stage crop_sequences: the axial slices of one shard, and which of them show which level."""

from spinegrade.crop.sequences import write_sequences
from spinegrade.crop.settings import sequence_from_config
from spinegrade.runtime.stage import run_stage


def main(job):
    """Cut the shard's axial stacks and write their slices and their table."""
    write_sequences(
        sequence_set=sequence_from_config(job.wildcards.sequence, job.params.sequence),
        keypoints=job.input.keypoints,
        stacks=job.input.stacks,
        landmarks=job.input.landmarks or None,
        folds=job.input.folds or None,
        array=job.output.array,
        table=job.output.table,
    )


run_stage(snakemake, main)
