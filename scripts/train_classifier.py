"""Stage train_classifier: one fold of one classifier."""

from pathlib import Path

from spinegrade.grade.cells.cells import files_of_sets, load_cells
from spinegrade.grade.cells.settings import CropShape, settings_from_config
from spinegrade.grade.cells.train import train_fold
from spinegrade.runtime.stage import run_stage


def main(job):
    """Train on the crops of all folds but one, and store the averaged weights."""
    settings = settings_from_config(job.wildcards.classifier, job.params.classifier)
    shapes = {name: CropShape(**shape) for name, shape in job.params.shapes.items()}
    files = files_of_sets(settings.roi_sets, list(job.input.arrays), list(job.input.tables))
    train_fold(
        settings=settings,
        shapes=shapes,
        cells=load_cells(settings.views, shapes, files),
        fold=int(job.wildcards.fold),
        weights=Path(job.output.weights),
        history=Path(job.output.history),
        checkpoint=Path(job.params.checkpoint),
        seed=job.params.seed,
        threads=job.params.math_threads,
        device=job.params.device,
        # Not through params: how often it is saved changes no result, and must retrain nothing.
        checkpoint_minutes=job.config["runtime"]["checkpoint_minutes"],
        code=job.params.code,
    )


run_stage(snakemake, main)
