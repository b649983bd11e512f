"""Stage write_two_stage_report: detectors, graders and their ensemble to one HTML page."""

from pathlib import Path

import pandas as pd
from spinegrade.report.two_stage_page import TwoStageRun, write_page
from spinegrade.runtime.files import read_json
from spinegrade.runtime.stage import run_stage
from spinegrade.tables.files import read_table, read_tables
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.truth import TRUTH


def main(job):
    """Read what the rules made and write the page."""
    histories = {name: {} for name in job.params.graders}
    for path in map(Path, job.input.histories):
        name, fold = path.parts[-3], int(path.parts[-2].removeprefix("fold_"))
        histories[name][fold] = pd.read_csv(path)
    anatomy = None
    if job.input.get("truth"):
        truth = read_table(job.input.truth, TRUTH)
        anatomy = truth.groupby("study")["anatomy"].first().to_dict()
    run = TwoStageRun(
        families=job.params.families,
        score=read_json(job.input.score),
        weights=read_json(job.input.weights),
        comparison=read_json(job.input.comparison[0]) if job.input.comparison else None,
        errors=pd.concat([pd.read_parquet(path) for path in job.input.errors]),
        landmarks=read_tables(list(job.input.landmarks), LOCATED_LANDMARKS),
        anatomy=anatomy,
        histories={name: dict(sorted(folds.items())) for name, folds in histories.items()},
    )
    write_page(job.output[0], run, job.params.cohort)


run_stage(snakemake, main)
