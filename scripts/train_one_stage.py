"""Stage train_one_stage: one fold of one network that finds points and grades them."""

from spinegrade.grade.volumes.settings import settings_from_config
from spinegrade.grade.volumes.training import train_one_stage
from spinegrade.runtime.stage import run_stage


def main(job):
    """Train and write weights and history."""
    train_one_stage(
        settings=settings_from_config(job.wildcards.network, job.params.network),
        fold=int(job.wildcards.fold),
        studies_path=job.input.studies,
        folds_path=job.input.folds,
        stacks_paths=list(job.input.stacks),
        volumes_paths=list(job.input.volumes),
        landmarks_paths=list(job.input.landmarks),
        labels_path=job.input.labels,
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
