"""Stage measure_grader: how good the grades and points of a grader that finds both are."""

from spinegrade.grade.volumes.settings import Settings
from spinegrade.grade.volumes.validation import measure_grader
from spinegrade.regions.registry import region_named
from spinegrade.runtime.stage import run_stage


def main(job):
    """Write the errors of all points and the summary."""
    measure_grader(
        settings=Settings(job.wildcards.learner, job.params.block),
        predictions_paths={"final": job.input.out_of_fold, "plain": job.input.plain},
        keypoints_paths={"final": job.input.keypoints, "plain": job.input.plain_keypoints},
        stacks_paths=list(job.input.stacks),
        landmarks_paths=list(job.input.landmarks),
        labels_path=job.input.labels,
        folds_path=job.input.folds,
        truth_path=job.input.truth or None,
        floor_path=job.input.floor or None,
        errors_path=job.output.errors,
        summary_path=job.output.summary,
        resamples=job.params.resamples,
        seed=job.params.seed,
        region=region_named(job.params.region),
    )


run_stage(snakemake, main)
