"""The reader and the folds on the real label tables, over a tree of one study."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from spinegrade.cohort.folds import balance, split_folds
from spinegrade.cohort.index import CohortTables, read_cohort
from spinegrade.cohort.problems import Problems
from spinegrade.cohort.read_tables import read_landmarks
from spinegrade.settings import SCHEMA_FOLDER

pytestmark = pytest.mark.real_data
SERIES = ("1012284084", "1792451510", "2092806862")


def default_salt() -> int:
    schema = SCHEMA_FOLDER / "cohort.yaml"
    return yaml.safe_load(schema.read_text())["properties"]["fold_salt"]["default"]


def real_cohort(real_data: Path, root: Path, coordinates: str) -> CohortTables:
    source = real_data / "rsna2024"
    root.mkdir()
    for name in ("train.csv.gz", "train_series_descriptions.csv.gz"):
        shutil.copy(source / name, root / name)
    shutil.copy(source / coordinates, root / "train_label_coordinates.csv.gz")
    for series in SERIES:
        folder = root / "train_images/100206310" / series
        folder.mkdir(parents=True)
        (folder / "1.dcm").touch()
    return read_cohort(root, 20)


def test_real_tables(real_data: Path, tmp_path: Path) -> None:
    name = "train_label_coordinates_with_size.csv.gz"
    cohort = real_cohort(real_data, tmp_path / "root", name)
    grades = cohort.labels["grade"]
    assert (cohort.labels["study"].nunique(), len(cohort.labels)) == (1975, 49375)
    assert (grades.notna().sum(), grades.isna().sum()) == (48803, 572)
    assert grades.value_counts().to_dict() == {0: 37754, 1: 7960, 2: 3089}
    assert len(cohort.series) == 6294
    used = cohort.studies[cohort.studies["problem"].isna()]
    assert used["study"].tolist() == ["100206310"] and used["series_count"].tolist() == [3]
    assert cohort.rejected["code"].value_counts().to_dict() == {"STUDY_WITHOUT_IMAGES": 1974}
    assert set(cohort.landmarks["series"]) == set(SERIES) and len(cohort.landmarks) == 25

    # Every study's fold, as if all had images.
    studies = cohort.studies.assign(problem=None)
    for folds, least in ((5, 0.88), (3, 0.9)):
        table = split_folds(studies, cohort.labels, folds, salt=default_salt())
        sizes = np.bincount(table["fold"])
        assert sizes.min() >= 0.9 * sizes.mean() and len(table) == 1975
        assert balance(table["fold"].to_numpy(), table["stratum"].to_numpy(), folds) >= least
    assert np.bincount(table["stratum"]).tolist() == [584, 411, 488, 492]


@pytest.mark.parametrize(
    ("name", "points"),
    [("train_label_coordinates_with_size.csv.gz", 48692),
     ("train_label_coordinates.fix01b.csv.gz", 48809)],
)  # fmt: skip
def test_all_real_coordinates_parse(
    real_data: Path, tmp_path: Path, name: str, points: int
) -> None:
    shutil.copy(real_data / "rsna2024" / name, tmp_path / "train_label_coordinates.csv.gz")
    problems = Problems()
    found = read_landmarks(str(tmp_path), problems)
    assert not problems and len(found) == points
