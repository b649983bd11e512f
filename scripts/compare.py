"""Stage compare: a system's blend with each of its families, or two learners, paired by study."""

from spinegrade.combine.compare import compare_blends, compare_learners
from spinegrade.regions.registry import region_named
from spinegrade.runtime.stage import run_stage


def main(job):
    """Compare on the labelled cells of all studies and write the figures."""
    common = {
        "labels_path": job.input.labels,
        "comparison_path": job.output.comparison,
        "resamples": job.params.resamples,
        "seed": job.params.seed,
        "region": region_named(job.params.region),
    }
    names = list(job.params.names)
    if job.wildcards.comparison == "families":
        whole, *parts = job.input.blends
        named = dict(zip(names[1:], parts, strict=True))
        compare_blends(whole_path=whole, part_paths=named, **common)
    else:
        errors, predictions = list(job.input.errors), list(job.input.predictions)
        compare_learners(names=names, errors_paths=errors, predictions_paths=predictions, **common)


run_stage(snakemake, main)
