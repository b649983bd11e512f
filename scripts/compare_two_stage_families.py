"""Stage compare_two_stage_families: the whole ensemble against that of each family alone."""

from spinegrade.combine.comparison import compare_blends
from spinegrade.runtime.stage import run_stage


def main(job):
    """Compare on the labelled cells of all studies, paired by study."""
    compare_blends(
        whole_path=job.input.whole,
        part_paths=dict(zip(job.params.families, job.input.parts, strict=True)),
        labels_path=job.input.labels,
        comparison_path=job.output.comparison,
        resamples=job.params.resamples,
        seed=job.params.seed,
    )


run_stage(snakemake, main)
