"""Stage predict_classifier: out-of-fold and new predictions of one classifier."""

from spinegrade.grade.cells.cells import files_of_sets, load_cells
from spinegrade.grade.cells.predict import predict
from spinegrade.grade.cells.settings import CropShape, settings_from_config
from spinegrade.runtime.stage import run_stage
from spinegrade.tables import write_table


def main(job):
    """Predict every study by the models that did not see it, and write both tables."""
    settings = settings_from_config(job.wildcards.classifier, job.params.classifier)
    shapes = {name: CropShape(**shape) for name, shape in job.params.shapes.items()}
    files = files_of_sets(settings.roi_sets, list(job.input.arrays), list(job.input.tables))
    out_of_fold, new = predict(
        settings=settings,
        shapes=shapes,
        cells=load_cells(settings.views, shapes, files),
        weights=list(job.input.weights),
        seed=job.params.seed,
        threads=job.params.math_threads,
        device=job.params.device,
    )
    write_table(job.output.out_of_fold, out_of_fold, "predictions")
    write_table(job.output.new, new, "predictions")


run_stage(snakemake, main)
