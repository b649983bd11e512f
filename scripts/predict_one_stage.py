"""Stage predict_one_stage: grades and points of one network, out of fold and of new studies."""

from spinegrade.grade.volumes.predict import predict_one_stage
from spinegrade.grade.volumes.settings import settings_from_config
from spinegrade.runtime.stage import run_stage


def main(job):
    """Predict every study by the networks that did not see it, and write the tables."""
    predict_one_stage(
        settings=settings_from_config(job.wildcards.network, job.params.network),
        studies_path=job.input.studies,
        folds_path=job.input.folds or None,
        stacks_paths=list(job.input.stacks),
        volumes_paths=list(job.input.volumes),
        weights_paths=list(job.input.weights),
        out_of_fold_path=job.output.out_of_fold,
        new_path=job.output.new,
        keypoints_path=job.output.keypoints,
        plain_path=job.output.plain,
        plain_keypoints_path=job.output.plain_keypoints,
        rejected_path=job.output.rejected,
        seed=job.params.seed,
        math_threads=job.params.math_threads,
        device=job.params.device,
    )


run_stage(snakemake, main)
