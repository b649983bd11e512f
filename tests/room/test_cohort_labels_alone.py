"""A folder with train.csv alone: which studies it gives, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from refusals import refused
from spinegrade.cohort.index import index_cohort
from spinegrade.errors import SpinegradeError
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS
from spinegrade.tables.files import read_table
from spinegrade.tables.labels import LABELS
from spinegrade.tables.named import kind_named
from spinegrade.tables.studies import STUDIES

COLUMNS = [cell.column for cell in LUMBAR_CELLS]


def labels_in(folder: Path, *studies: str, submitted: tuple[str, ...] = ()) -> Path:
    folder.mkdir()
    grades = ["Severe", "", *["Normal/Mild"] * 23]
    lines = [",".join(["study_id", *COLUMNS]), *(",".join([study, *grades]) for study in studies)]
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    if submitted:
        rows = [f"{study}_{column},0.3,0.3,0.4" for study in submitted for column in COLUMNS]
        text = "\n".join(["row_id,normal_mild,moderate,severe", *rows]) + "\n"
        (folder / "sample_submission.csv").write_text(text)
    return folder


def test_every_labelled_study_takes_part_and_none_has_a_series(tmp_path: Path) -> None:
    root = labels_in(tmp_path / "labels", "102", "101", submitted=("900",))
    index_cohort(root, 2, tmp_path, labels_alone=True)
    studies = read_table(tmp_path / "studies.parquet", STUDIES)
    assert studies[["study", "split"]].to_numpy().tolist() == [
        ["101", "train"],
        ["102", "train"],
        ["900", "test"],
    ]
    assert studies["problem"].isna().all() and (studies["series_count"] == 0).all()
    labels = read_table(tmp_path / "labels.parquet", LABELS).set_index("study").loc["101"]
    # Severe, not graded, and 23 that are normal or mild.
    assert labels["grade"].iloc[0] == 2 and labels["grade"].isna().tolist().index(True) == 1
    assert labels["grade"].sum() == 2 and labels["grade"].count() == 24
    for kind in ("series", "landmarks", "rejected"):
        assert read_table(tmp_path / f"{kind}.parquet", kind_named(kind)).empty


def test_faults_of_both_files_are_told_at_once(tmp_path: Path) -> None:
    root = labels_in(tmp_path / "labels", "101", "102", "x1", submitted=("102", "900"))
    with pytest.raises(SpinegradeError) as refused:
        index_cohort(root, 2, tmp_path, labels_alone=True)
    words = str(refused.value)
    assert "'x1'" in words and "study 102 stands in train.csv and in sample_submission.csv" in words
    assert not (tmp_path / "studies.parquet").exists()


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with refused("COHORT_FAULTS", "train.csv"):
        index_cohort(tmp_path, 2, tmp_path, labels_alone=True)
