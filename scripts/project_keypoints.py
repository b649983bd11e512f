"""Stage project_keypoints: sagittal points of one shard, projected into its axial series."""

from spinegrade.localise.coordinates.projection_stages import project_keypoints
from spinegrade.runtime.stage import run_stage


def main(job):
    """Project the points and write them with what was not found."""
    project_keypoints(
        name=job.wildcards.projection,
        shard=int(job.wildcards.shard),
        studies_path=job.input.studies,
        folds_path=job.input.folds or None,
        stacks_path=job.input.stacks,
        offsets_paths=list(job.input.offsets),
        points_paths=list(job.input.points),
        keypoints_path=job.output.keypoints,
        rejected_path=job.output.rejected,
        max_distance_mm=job.params.max_distance_mm,
    )


run_stage(snakemake, main)
