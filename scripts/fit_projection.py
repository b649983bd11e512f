"""Stage fit_projection: steps from sagittal points to the recesses, outside one fold."""

from spinegrade.localise.coordinates.projection_stages import fit_projection
from spinegrade.runtime.stage import run_stage


def main(job):
    """Measure the steps and write them."""
    fit_projection(
        name=job.wildcards.projection,
        fold=int(job.wildcards.fold),
        studies_path=job.input.studies,
        folds_path=job.input.folds,
        landmarks_paths=list(job.input.landmarks),
        offsets_path=job.output.offsets,
    )


run_stage(snakemake, main)
