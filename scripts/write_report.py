"""Stage write_report: a finished run to one self-contained HTML page."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spinegrade.report.data import Options, Paths
from spinegrade.report.page import write_report
from spinegrade.runtime.dag import draw_graphs
from spinegrade.runtime.run_record import record_in_progress
from spinegrade.runtime.stage import run_stage


def main(job: Any) -> None:
    """Collect the paths and the options of the job, and write the page."""
    lists = ("rejected", "stacks", "landmarks", "keypoints", "crop_tables", "crop_arrays")
    single = ("studies", "labels", "probabilities", "prior", "score", "filled")
    given = job.input
    options = Options(
        **job.params.options,
        seed=job.params.seed,
        fingerprints=job.params.fingerprints,
        config=job.params.config,
    )
    with TemporaryDirectory() as graphs:
        # Asked of Snakemake here: as a job of its own it would run for every setting that changes.
        snakefile = Path(job.scriptdir).parent / "Snakefile"
        draw_graphs(snakefile=snakefile, config=dict(job.params.config), folder=Path(graphs))
        paths = Paths(
            **{name: list(given[name]) for name in (*lists, "histories")},
            **{name: given[name] for name in single},
            mean_shape=given.mean_shape or None,
            truth=given.truth or None,
            benchmarks=job.params.benchmarks,
            graphs=graphs,
            run_record=record_in_progress(job.params.benchmarks.removesuffix("/benchmarks")),
        )
        write_report(job.output[0], paths, options, job.params.cohort, job.params.kind)


run_stage(snakemake, main)
