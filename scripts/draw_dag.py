"""Stage draw_dag: rule graph and job graph, as pictures and as mermaid text."""

from pathlib import Path

from spinegrade.runtime.dag import draw_graphs
from spinegrade.runtime.stage import run_stage


def main(job):
    """Draw both graphs of the workflow as configured into the folder of the outputs."""
    draw_graphs(
        snakefile=Path(job.scriptdir).parent / "Snakefile",
        config=dict(job.params.config),
        folder=Path(job.output[0]).parent,
    )


run_stage(snakemake, main)
