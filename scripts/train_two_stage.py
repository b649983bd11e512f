"""Stage train_two_stage: one fold of one grader of crops."""

from spinegrade.grade.views.settings import crop_shape, settings_from_config
from spinegrade.grade.views.stores import StorePaths
from spinegrade.grade.views.training import train_two_stage
from spinegrade.runtime.stage import run_stage


def main(job):
    """Train and write weights and history."""
    train_two_stage(
        settings=settings_from_config(job.wildcards.grader, job.params.grader),
        shapes={name: crop_shape(**shape) for name, shape in job.params.shapes.items()},
        fold=int(job.wildcards.fold),
        studies_path=job.input.studies,
        folds_path=job.input.folds,
        labels_path=job.input.labels,
        paths=StorePaths(
            *(list(job.input.arrays), list(job.input.tables)),
            *(list(job.input.slices), list(job.input.sequences)),
        ),
        weights_path=job.output.weights,
        history_path=job.output.history,
        checkpoint_path=job.params.checkpoint,
        code=job.params.code,
        seed=job.params.seed,
        math_threads=job.params.math_threads,
        device=job.params.device,
        # Not through params: how often it is saved changes no result, and must retrain nothing.
        checkpoint_minutes=job.config["runtime"]["checkpoint_minutes"],
    )


run_stage(snakemake, main)
