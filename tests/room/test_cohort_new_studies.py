"""Studies without grades for trained models: what is needed, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from path_helpers import deliver
from spinegrade.cohort.index import index_cohort, read_cohort
from spinegrade.errors import SpinegradeError
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS
from spinegrade.tables.files import read_table
from spinegrade.tables.named import kind_named
from spinegrade.tables.series import SERIES
from spinegrade.tables.studies import STUDIES

TABLES = ("train.csv", "train_label_coordinates.csv", "train_series_descriptions.csv")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Train study 101 with a point, test study 102; three series of four files each."""
    return deliver(tmp_path / "data")


def keep_test_part(root: Path) -> None:
    shutil.rmtree(root / "train_images")
    for name in (*TABLES, "sample_submission.csv"):
        (root / name).unlink()


def header_alone(root: Path) -> None:
    cells = ",".join(cell.column for cell in LUMBAR_CELLS)
    (root / "train.csv").write_text(f"study_id,{cells}\n")


def parts(root: Path) -> dict[str, str]:
    """The part of each study, as a run with trained models reads the folder."""
    cohort = read_cohort(root, 1, trains=False)
    of_series = cohort.series.groupby("study")["split"].unique().map(list).to_dict()
    studies = dict(zip(cohort.studies["study"], cohort.studies["split"], strict=True))
    assert of_series == {study: [part] for study, part in studies.items()}
    return studies


@pytest.mark.parametrize("with_header", [True, False])
def test_test_images_alone_are_enough_for_trained_models(root: Path, with_header: bool) -> None:
    keep_test_part(root)
    if with_header:
        header_alone(root)
    index_cohort(root, 2, root / "out", trains=False)
    studies = read_table(root / "out" / "studies.parquet", STUDIES)
    assert studies[["study", "split", "series_count"]].to_numpy().tolist() == [["102", "test", 3]]
    series = read_table(root / "out" / "series.parquet", SERIES)
    assert series["folder"].tolist() == [f"test_images/102/{n}" for n in (201, 202, 203)]
    for kind in ("labels", "landmarks", "rejected"):
        assert read_table(root / "out" / f"{kind}.parquet", kind_named(kind)).empty


@pytest.mark.parametrize("with_header", [True, False])
def test_without_trained_models_they_are_refused_in_words(root: Path, with_header: bool) -> None:
    keep_test_part(root)
    if with_header:
        header_alone(root)
    with pytest.raises(SpinegradeError) as refused:
        index_cohort(root, 1, root / "out")
    words = str(refused.value)
    assert not (root / "out").exists()
    assert "has nothing to train on: test_images holds 1 study, and" in words
    assert "name the results folder of a finished run in models.from" in words
    assert "missing file" not in words


def test_train_images_without_grades_are_new_studies(root: Path) -> None:
    # An export of one's own: everything under the names of the train part.
    for name in ("test_series_descriptions.csv", "sample_submission.csv", *TABLES[:2]):
        (root / name).unlink()
    shutil.rmtree(root / "test_images")
    assert parts(root) == {"101": "test"}
    folders = read_cohort(root, 1, trains=False).series["folder"]
    assert folders.str.startswith("train_images/101/").all()


def test_a_row_without_a_single_grade_is_a_new_study(root: Path) -> None:
    lines = (root / "train.csv").read_text().splitlines()
    (root / "train.csv").write_text(f"{lines[0]}\n101{',' * 25}\n")
    cohort = read_cohort(root, 1, trains=False)
    assert parts(root) == {"101": "test", "102": "test"}
    # Its annotated point stands: it can be held against what the models find.
    assert len(cohort.labels) == 0 and len(cohort.landmarks) == 1


def test_graded_studies_stay_to_be_scored(root: Path) -> None:
    cohort = read_cohort(root, 1, trains=False)
    assert parts(root) == {"101": "train", "102": "test"}
    trained = read_cohort(root, 1)
    for kind in ("studies", "series", "labels", "landmarks"):
        pd.testing.assert_frame_equal(getattr(cohort, kind), getattr(trained, kind))


def test_images_need_their_series_descriptions_all_the_same(root: Path) -> None:
    (root / "train_series_descriptions.csv").unlink()
    (root / "test_series_descriptions.csv").unlink()
    with pytest.raises(SpinegradeError) as refused:
        read_cohort(root, 1, trains=False)
    for name in ("train_series_descriptions.csv", "test_series_descriptions.csv"):
        assert f"{name}: missing file" in str(refused.value)


def test_a_folder_without_studies_is_refused(root: Path) -> None:
    shutil.rmtree(root / "train_images")
    shutil.rmtree(root / "test_images")
    with pytest.raises(SpinegradeError) as refused:
        read_cohort(root, 1, trains=False)
    words = str(refused.value)
    assert "no study with images" in words
    assert f"{root}/train_images: there is no such folder" in words
    assert f"{root}/test_images: there is no such folder" in words
