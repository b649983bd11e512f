"""Stage validate_one_stage: how good a network's out-of-fold grades and points are."""

from spinegrade.grade.volumes.settings import settings_from_config
from spinegrade.grade.volumes.validation import validate_one_stage
from spinegrade.runtime.stage import run_stage


def main(job):
    """Write the errors of all points and the summary."""
    validate_one_stage(
        settings=settings_from_config(job.wildcards.network, job.params.network),
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
    )


run_stage(snakemake, main)
