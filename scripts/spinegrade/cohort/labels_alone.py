"""A cohort of labels without images: a folder with ``train.csv``, for combining tables alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from spinegrade.cohort import layout
from spinegrade.cohort.problems import Problems
from spinegrade.cohort.read_tables import read_labels, read_submission_studies
from spinegrade.regions.region import Cell
from spinegrade.shards import shard_of
from spinegrade.tables.studies import STUDIES

Labels = dict[str, dict[Cell, int | None]]


def read_labels_alone(root: str | Path, shards: int) -> tuple[pd.DataFrame, Labels]:
    """Table "studies" and the grades by study, of ``train.csv`` under ``root``.

    Studies of ``sample_submission.csv``, where that lies there, are the test part. No study has a
    series, and none is left out: what is said of it comes from tables. Raises SpinegradeError
    listing every fault of the two files, and a study that stands in both.
    """
    problems = Problems()
    labels = read_labels(str(root), problems)
    has_submission = layout.csv_path(root, layout.SUBMISSION) is not None
    submitted = read_submission_studies(str(root), problems) if has_submission else []
    for study in sorted(labels.keys() & {*submitted}):
        problems.add(
            "study in both parts",
            f"study {study} stands in {layout.LABELS} and in {layout.SUBMISSION}; allowed: one of "
            "the two, else it would be scored on itself",
        )
    problems.raise_if_any(f"the labels under {root}")
    parts = [("train", study) for study in sorted(labels)]
    parts += [("test", study) for study in sorted(submitted)]
    studies = pd.DataFrame(parts, columns=["split", "study"])
    studies = studies.assign(
        region="lumbar",
        series_count=0,
        shard=[shard_of(study, shards) for study in studies["study"]],
        problem=pd.Series(None, studies.index, dtype=object),
    )
    return studies[list(STUDIES.columns)], labels
