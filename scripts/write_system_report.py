"""Stage write_system_report: the work of a system's learners to one self-contained HTML page."""

from pathlib import Path

import pandas as pd
from spinegrade.report.system import SystemRun
from spinegrade.report.system_page import write_page
from spinegrade.runtime.files import read_json
from spinegrade.runtime.stage import run_stage
from spinegrade.tables.files import read_table, read_tables
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.truth import TRUTH
from spinegrade.volumes import load_stacks


def main(job):
    """Read what the rules made and write the page."""
    given, params = job.input, job.params
    histories = {}
    for path in map(Path, given.histories):
        fold = int(path.parent.name.removeprefix("fold_"))
        histories.setdefault(path.parts[-3], {})[fold] = pd.read_csv(path)
    anatomy = None
    if given.get("truth"):
        truth = read_table(given.truth, TRUTH)
        anatomy = truth.groupby("study")["anatomy"].first().to_dict()
    errors = [pd.read_parquet(path) for path in given.errors]
    errors = [one[one["looks"] == "final"] if "looks" in one else one for one in errors]
    compared = {Path(path).stem: read_json(path) for path in given.comparisons}
    run = SystemRun(
        members=list(params.members),
        score=read_json(given.score),
        weights=read_json(given.weights),
        families={name: list(members) for name, members in params.families.items()},
        comparison=compared.pop("families", None),
        validations={Path(path).parts[-2]: read_json(path) for path in given.summaries},
        faults=list(compared.values()),
        point_errors=pd.concat(errors, ignore_index=True) if errors else pd.DataFrame(),
        keypoints={Path(path).parts[-2]: read_table(path, KEYPOINTS) for path in given.keypoints},
        landmarks=read_tables(list(given.landmarks), LOCATED_LANDMARKS),
        anatomy=anatomy,
        histories=histories,
        stacks={(s.study, s.series, s.stack): s for s in load_stacks(given.stacks)},
        examples=params.examples,
    )
    write_page(job.output[0], run, job.wildcards.system, params.cohort)


run_stage(snakemake, main)
