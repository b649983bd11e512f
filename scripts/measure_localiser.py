"""Stage measure_localiser: the out-of-fold error of the points of a localiser or a projection."""

from spinegrade.localise.heatmap.measure import measure_keypoints
from spinegrade.runtime.stage import run_stage


def main(job):
    """Compare keypoints with located landmarks and write table and summary."""
    measure_keypoints(
        detector=job.wildcards.learner,
        targets=job.params.targets,
        keypoints_paths=list(job.input.keypoints),
        stacks_paths=list(job.input.stacks),
        landmarks_paths=list(job.input.landmarks),
        errors_path=job.output.errors,
        summary_path=job.output.summary,
    )


run_stage(snakemake, main)
