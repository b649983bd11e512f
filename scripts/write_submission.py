"""Stage write_submission: the test studies' probabilities as the competition takes them."""

from spinegrade.combine.submission import write_submission
from spinegrade.regions.registry import region_named
from spinegrade.runtime.stage import run_stage


def main(job):
    """Write submission.csv."""
    write_submission(
        probabilities=job.input.probabilities,
        studies=job.input.studies,
        sample=next(iter(job.input.sample), None),
        submission=job.output.submission,
        region=region_named(job.params.region),
    )


run_stage(snakemake, main)
