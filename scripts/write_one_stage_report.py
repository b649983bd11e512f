"""Stage write_one_stage_report: the one-stage networks' work to one self-contained HTML page."""

from pathlib import Path

import pandas as pd
from spinegrade.report.one_stage_page import Network, OneStageRun, write_page
from spinegrade.runtime.files import read_json
from spinegrade.runtime.stage import run_stage
from spinegrade.tables.files import read_table, read_tables
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.volumes import load_stacks


def main(job):
    """Read what the networks made and write the page."""
    histories = {name: {} for name in job.params.networks}
    for path in map(Path, job.input.histories):
        name, fold = path.parts[-3], int(path.parts[-2].removeprefix("fold_"))
        histories[name][fold] = pd.read_csv(path)
    made = zip(
        *(job.params.networks, job.input.summaries, job.input.errors, job.input.keypoints),
        strict=True,
    )
    networks = {
        name: Network(
            read_json(summary),
            pd.read_parquet(errors),
            dict(sorted(histories[name].items())),
            read_table(keypoints, KEYPOINTS),
        )
        for name, summary, errors, keypoints in made
    }
    stacks = {(s.study, s.series, s.stack): s for s in load_stacks(job.input.stacks)}
    run = OneStageRun(
        networks=networks,
        score=read_json(job.input.score),
        flips=[read_json(path) for path in job.input.flips],
        stacks=stacks,
        landmarks=read_tables(list(job.input.landmarks), LOCATED_LANDMARKS),
        examples=job.params.examples,
    )
    write_page(job.output[0], run, job.params.cohort)


run_stage(snakemake, main)
