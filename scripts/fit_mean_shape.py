"""Stage fit_mean_shape: landmarks to the mean shape of each sagittal plane."""

from spinegrade.runtime.stage import run_stage
from spinegrade.shapes.fit import fit_mean_shape


def main(job):
    """Fit the two mean shapes and draw them."""
    fit_mean_shape(
        landmarks=job.input.landmarks,
        stacks=list(job.input.stacks),
        shape_file=job.output.shape,
        picture=job.output.picture,
    )


run_stage(snakemake, main)
