"""Stage infer_keypoints: points of one detector in one shard, out of fold."""

from spinegrade.localise.heatmap.stages import infer_keypoints
from spinegrade.runtime.stage import run_stage


def main(job):
    """Find the points and write them with what was not found."""
    infer_keypoints(
        name=job.wildcards.detector,
        shard=int(job.wildcards.shard),
        studies_path=job.input.studies,
        folds_path=job.input.folds or None,
        stacks_path=job.input.stacks,
        weights_paths=list(job.input.weights),
        level_paths=list(job.input.levels),
        keypoints_path=job.output.keypoints,
        rejected_path=job.output.rejected,
        max_distance_mm=job.params.max_distance_mm,
        seed=job.params.seed,
        math_threads=job.params.math_threads,
        device=job.params.device,
    )


run_stage(snakemake, main)
