"""Stage infer_regressor: points of one regressor in one shard, out of fold."""

from spinegrade.localise.coordinates.stages import infer_regressor
from spinegrade.runtime.stage import run_stage


def main(job):
    """Find the points and write them with what was not found."""
    infer_regressor(
        name=job.wildcards.detector,
        shard=int(job.wildcards.shard),
        studies_path=job.input.studies,
        folds_path=job.input.folds or None,
        stacks_path=job.input.stacks,
        weights_paths=list(job.input.weights),
        xy_from=job.params.xy_from,
        entries=job.params.entries,
        xy_paths=list(job.input.xy_weights),
        keypoints_path=job.output.keypoints,
        rejected_path=job.output.rejected,
        seed=job.params.seed,
        math_threads=job.params.math_threads,
        device=job.params.device,
    )


run_stage(snakemake, main)
