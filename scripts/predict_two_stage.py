"""Stage predict_two_stage: grades of one grader of crops, out of fold and of new studies."""

from spinegrade.grade.views.predict import predict_two_stage
from spinegrade.grade.views.settings import crop_shape, settings_from_config
from spinegrade.grade.views.stores import StorePaths
from spinegrade.runtime.stage import run_stage


def main(job):
    """Predict every study by the networks that did not see it, and write the tables."""
    predict_two_stage(
        settings=settings_from_config(job.wildcards.grader, job.params.grader),
        shapes={name: crop_shape(**shape) for name, shape in job.params.shapes.items()},
        studies_path=job.input.studies,
        folds_path=job.input.folds or None,
        paths=StorePaths(
            *(list(job.input.arrays), list(job.input.tables)),
            *(list(job.input.slices), list(job.input.sequences)),
        ),
        weights_paths=list(job.input.weights),
        out_of_fold_path=job.output.out_of_fold,
        new_path=job.output.new,
        seed=job.params.seed,
        math_threads=job.params.math_threads,
        device=job.params.device,
    )


run_stage(snakemake, main)
