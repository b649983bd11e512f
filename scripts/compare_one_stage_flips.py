"""Stage compare_one_stage_flips: what a flip that exchanges no sides costs, paired by study."""

from spinegrade.grade.volumes.comparison import compare_flips
from spinegrade.runtime.stage import run_stage


def main(job):
    """Compare the two networks and write the figures."""
    kinds = ("bugged", "fixed")
    compare_flips(
        target=job.params.target,
        names={kind: job.params.networks[kind] for kind in kinds},
        errors_paths={kind: job.input[f"{kind}_errors"] for kind in kinds},
        predictions_paths={kind: job.input[f"{kind}_predictions"] for kind in kinds},
        labels_path=job.input.labels,
        comparison_path=job.output.comparison,
        resamples=job.params.resamples,
        seed=job.params.seed,
    )


run_stage(snakemake, main)
