"""The chain from DICOM to report on a miniature phantom, and its models on a folder of studies."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from spinegrade.phantom.cohort import write_cohort
from spinegrade.phantom.study import PhantomSettings
from spinegrade.regions.lumbar_mri import CONDITIONS, FORAMINAL, LUMBAR_CELLS

PROJECT = Path(__file__).resolve().parents[2]
MINIATURE = PROJECT / "tests" / "workflow" / "miniature.yaml"
pytestmark = pytest.mark.workflow


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
    command += ["--workflow-profile", str(PROJECT / "profiles" / "default")]
    command += ["--directory", str(folder), "--cores", "2", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def run(finished_run: Path) -> Path:
    """A folder in which the miniature run has finished."""
    return finished_run


def test_every_cell_of_every_study_has_a_probability(run: Path) -> None:
    table = pd.read_parquet(run / "results/miniature/combine/probabilities.parquet")
    assert len(table) == 9 * 25
    assert table["study"].nunique() == 9
    new = table[table["fold"].isna()]
    assert len(new) == 25


def test_the_score_covers_every_label(run: Path) -> None:
    score = json.loads((run / "results/miniature/combine/score.json").read_text())
    labels = pd.read_parquet(run / "results/miniature/cohort/labels.parquet")
    assert score["counts"]["cells_scored"] == labels["grade"].notna().sum()
    assert 0.2 < score["ensemble"]["total"] < 3


def test_the_submission_has_the_competitions_form(run: Path) -> None:
    submission = pd.read_csv(run / "results/miniature/combine/submission.csv")
    sample = pd.read_csv(run / "results/miniature/phantom/sample_submission.csv")
    assert submission["row_id"].tolist() == sample["row_id"].tolist()
    assert submission.columns.tolist() == ["row_id", "normal_mild", "moderate", "severe"]
    assert (submission.iloc[:, 1:].sum(axis=1) - 1).abs().max() < 1e-5


def test_each_training_study_is_found_by_a_detector_that_never_saw_it(run: Path) -> None:
    folds = pd.read_parquet(run / "results/miniature/cohort/folds.parquet")
    fold = folds.set_index("study")["fold"]
    for detector in ("sagittal_t1", "sagittal_t2", "axial_t2"):
        points = pd.read_parquet(run / f"results/miniature/localise/{detector}/0.parquet")
        seen = points[points["study"].isin(fold.index)]
        expected = detector + ":fold_" + fold.loc[seen["study"]].astype(str)
        assert len(seen) and seen["source"].tolist() == expected.tolist()


def test_a_second_run_has_nothing_to_do(run: Path) -> None:
    again = snakemake(run, "--configfile", str(MINIATURE), "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_the_report_is_one_file_that_needs_nothing_else(run: Path) -> None:
    page = (run / "results/miniature/report/report.html").read_text()
    assert 'src="http' not in page and 'href="http' not in page
    assert "miniature" in page


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four labelled studies and a new one that no model has seen, in the competition's layout.

    Of the last labelled one only the sagittal T1 series was delivered.
    """
    folder = tmp_path_factory.mktemp("given")
    settings = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())["phantom"]
    settings |= {"studies": 4, "test_studies": 1, "seed": 77, "scale": 0.5}
    write_cohort(PhantomSettings.from_config(settings), folder, processes=1)
    study = max(path.name for path in (folder / "train_images").iterdir())
    tables = [folder / f"train_{name}.csv" for name in ("series_descriptions", "label_coordinates")]
    series, points = (pd.read_csv(table, dtype="str") for table in tables)
    lost = (series["study_id"] == study) & (series["series_description"] != "Sagittal T1")
    assert 0 < lost.sum() < len(series)
    for name in series.loc[lost, "series_id"]:
        shutil.rmtree(folder / "train_images" / study / name)
    gone = points["series_id"].isin(series.loc[lost, "series_id"])
    series[~lost].to_csv(tables[0], index=False)
    points[~gone].to_csv(tables[1], index=False)
    return folder


def grade_with_trained_models(
    run: Path, given: Path, name: str = "given"
) -> subprocess.CompletedProcess[str]:
    config = {
        "cohort": {"name": name, "kind": "kaggle_rsna2024", "root": str(given)},
        "models": {"from": "results/miniature"},
    }
    file = given / "given.yaml"
    file.write_text(yaml.safe_dump(config))
    return snakemake(run, "--configfile", str(MINIATURE), str(file))


def test_trained_models_grade_a_folder_of_studies_and_one_bad_study_stops_nobody(
    run: Path, given: Path
) -> None:
    broken = min(path.name for path in (given / "train_images").iterdir())
    for file in (given / "train_images" / broken).rglob("*.dcm"):
        file.write_bytes(b"not a DICOM file")
    done = grade_with_trained_models(run, given)
    words = done.stdout + done.stderr
    assert done.returncode == 0, words[-4000:]
    assert "train_localiser" not in words and "train_grader" not in words
    rejected = pd.read_parquet(run / "results/given/convert/0/rejected.parquet")
    assert set(rejected["study"]) == {broken}
    table = pd.read_parquet(run / "results/given/combine/probabilities.parquet")
    assert len(table) == 5 * 25 and table["fold"].isna().all()
    page = (run / "results/given/report/report.html").read_text()
    assert broken in page
    told = table.set_index(["study", "condition"])[["source", "members"]]
    assert (told.loc[broken, "source"] == "prior").all()
    single = max(path.name for path in (given / "train_images").iterdir())
    for condition in CONDITIONS:
        # What the finished run gave no weight is the prior's as well.
        weights = json.loads((run / "results/miniature/combine/weights.json").read_text())
        seen = condition == FORAMINAL and weights["all_folds"][condition]["weights"]["small"] > 0
        expected = {("image", "small")} if seen else {("prior", "")}
        assert set(told.loc[(single, condition)].itertuples(index=False, name=None)) == expected
    filled = pd.read_csv(run / "results/given/combine/filled.csv", dtype="str")
    lacking = filled[filled["lacking"] == "small"].groupby("study").size()
    assert (lacking[broken], lacking[single]) == (25, 15)
    for study in (broken, single):
        alone = int((told.loc[study, "source"] == "prior").sum())
        words = f"{alone} of 25 cells hold the prior alone, nothing of this patient&#39;s images: "
        assert words in page.split(f"<h3>Study {study}</h3>")[1].split("<table")[0]
    score = json.loads((run / "results/given/combine/score.json").read_text())
    labels = pd.read_parquet(run / "results/given/cohort/labels.parquet")
    assert score["counts"]["cells_scored"] == labels["grade"].notna().sum()
    assert score["counts"]["cells_scored_by_prior_alone"] >= 40 - labels["grade"].isna().sum()
    submission = pd.read_csv(run / "results/given/combine/submission.csv")
    assert len(submission) == 25


def test_trained_models_grade_new_studies_alone(run: Path, given: Path, tmp_path: Path) -> None:
    # As the README says: no train.csv, no points, the images and what they are.
    alone = tmp_path / "alone"
    shutil.copytree(given / "test_images", alone / "test_images")
    shutil.copy(given / "test_series_descriptions.csv", alone)
    (study,) = (path.name for path in (alone / "test_images").iterdir())
    done = grade_with_trained_models(run, alone, "alone")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    results = run / "results" / "alone"
    submission = pd.read_csv(results / "combine" / "submission.csv")
    assert submission["row_id"].tolist() == [f"{study}_{c.column}" for c in LUMBAR_CELLS]
    assert (submission.iloc[:, 1:].sum(axis=1) - 1).abs().max() < 1e-5
    score = json.loads((results / "combine" / "score.json").read_text())
    assert not score["scored"] and score["counts"]["cells_scored"] == 0
    page = (results / "report" / "report.html").read_text()
    assert "No score: no labelled cell" in page and f"Study {study}" in page


def test_models_refuse_to_grade_the_studies_that_taught_them(run: Path, tmp_path: Path) -> None:
    taught = tmp_path / "taught"
    shutil.copytree(run / "results/miniature/phantom", taught)
    done = grade_with_trained_models(run, taught)
    assert done.returncode != 0
    assert "was trained on" in done.stdout + done.stderr


def test_the_report_shows_both_graphs_and_how_to_repeat_the_run(run: Path) -> None:
    page = (run / "results/miniature/report/report.html").read_text()
    for words in ("From images to findings", "The rule graph.", "The job graph."):
        assert words in page, words
    assert "How to repeat this run" in page and "status.py results/miniature --config" in page
