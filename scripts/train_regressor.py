"""Stage train_regressor: one regressor, trained on the studies outside one fold."""

from spinegrade.localise.coordinates.settings import settings_from_config
from spinegrade.localise.coordinates.training import train_regressor
from spinegrade.runtime.stage import run_stage


def main(job):
    """Train and write weights and history."""
    train_regressor(
        settings=settings_from_config(job.wildcards.detector, job.params.regressor),
        fold=int(job.wildcards.fold),
        studies_path=job.input.studies,
        folds_path=job.input.folds,
        stacks_paths=list(job.input.stacks),
        landmarks_paths=list(job.input.landmarks),
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
