"""Tables of others, combined and scored on labels alone: no image, nothing trained."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from miniature_run import planned, snakemake
from spinegrade.kaggle_rsna2024 import KAGGLE_GRADES
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS

pytestmark = pytest.mark.workflow
COLUMNS = [cell.column for cell in LUMBAR_CELLS]
WORDS = {grade: text for text, grade in KAGGLE_GRADES.items()}
STUDIES = [str(study) for study in range(1001, 1061)]


def write_table(file: Path, studies: list[str], likely: np.ndarray, chance: float) -> None:
    """``chance`` for the ``likely`` grade (studies, 25) of each cell, the rest shared."""
    rows = pd.DataFrame({"row_id": [f"{study}_{name}" for study in studies for name in COLUMNS]})
    for grade, name in enumerate(("normal_mild", "moderate", "severe")):
        rows[name] = np.where(likely.ravel() == grade, chance, (1 - chance) / 2)
    rows.to_csv(file, index=False)


def a_folder(folder: Path, **outside: dict) -> Path:
    """Labels of sixty studies, two to be predicted; a good table and a wild one."""
    grades = np.random.default_rng(3).choice(3, (60, 25), p=(0.6, 0.25, 0.15))
    labels = pd.DataFrame(grades, columns=COLUMNS).replace(WORDS)
    (folder / "labels").mkdir()
    labels.insert(0, "study_id", STUDIES)
    labels.to_csv(folder / "labels" / "train.csv", index=False)
    both = [*STUDIES, "2001", "2002"]
    known = np.vstack([grades, np.zeros((2, 25), int)])
    write_table(folder / "good.csv", both, known, 0.8)
    write_table(folder / "wild.csv", both, (known + 1) % 3, 0.4)
    sample = folder / "labels" / "sample_submission.csv"
    write_table(sample, ["2002", "2001"], np.zeros((2, 25), int), 0.4)
    config = folder / "blend.yaml"
    cohort = {"name": "blend", "kind": "kaggle_labels", "root": str(folder / "labels"), "folds": 3}
    config.write_text(yaml.safe_dump({"cohort": cohort, "combine": {"outside": outside}}))
    return config


def test_tables_are_weighed_scored_and_submitted(tmp_path: Path) -> None:
    tables = {name: {"path": str(tmp_path / f"{name}.csv")} for name in ("good", "wild")}
    code, words = snakemake(tmp_path, [a_folder(tmp_path, **tables)])
    assert code == 0, words[-4000:]
    stages = ("index_cohort", "split_folds", "fit_ensemble", "write_submission", "all")
    assert planned(words) == dict.fromkeys(stages, 1)
    room = tmp_path / "results" / "blend" / "combine"
    score = json.loads((room / "score.json").read_text())
    assert list(score["served"]) == ["good", "prior", "wild"]
    for part in ("spinal", "foraminal", "subarticular"):
        assert score["classifiers"]["good"][part] == pytest.approx(-math.log(0.8))
        # The good one is right everywhere, so that even halved it is best.
        assert score["ensemble"][part] < score["equal_weights"][part]
    assert f"score {score['classifiers']['good']['total']:.4f}: good alone" in words
    submission = pd.read_csv(room / "submission.csv")
    assert len(submission) == 50 and submission["row_id"][0].startswith("2002_")
    assert (submission["normal_mild"] > 0.5).all()


def test_without_a_table_there_is_nothing_to_combine(tmp_path: Path) -> None:
    code, words = snakemake(tmp_path, [a_folder(tmp_path)], "--dry-run")
    assert code != 0 and "name at least one in combine.outside" in words
    assert "Traceback" not in words


@pytest.mark.parametrize("target", ["check_cohort", "results/blend/report/report.html"])
def test_what_needs_images_is_refused(tmp_path: Path, target: str) -> None:
    config = a_folder(tmp_path, good={"path": str(tmp_path / "good.csv")})
    code, words = snakemake(tmp_path, [config], "--dry-run", "--", target)
    assert code != 0 and "kaggle_labels, a cohort without images" in words


def test_a_classifier_cannot_take_part_without_images(tmp_path: Path) -> None:
    config = a_folder(tmp_path, good={"path": str(tmp_path / "good.csv")})
    mine = tmp_path / "mine.yaml"
    mine.write_text("combine: {members: [good, lite0]}")
    code, words = snakemake(tmp_path, [config, mine], "--dry-run")
    assert code != 0 and "combine.members names ['lite0']" in words
