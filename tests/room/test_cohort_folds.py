"""Folds worked out by hand, their stability, their balance, and a user's own file."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from refusals import refused
from spinegrade.cohort.folds import (
    balance,
    fold_of,
    read_folds,
    severity_strata,
    split_folds,
    suggest_salt,
)
from spinegrade.phantom.study import PhantomSettings, study_id
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS

PROJECT = Path(__file__).resolve().parents[2]


def make_tables(count: int, without_images: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Studies 1000, 1001 .. with n % 4 as stratum, and one test study."""
    ids = [str(1000 + number) for number in range(count)]
    problems = ["STUDY_WITHOUT_IMAGES"] * without_images + [None] * (count - without_images)
    studies = pd.DataFrame(
        {"study": [*ids, "9"], "split": ["train"] * count + ["test"], "problem": [*problems, None]}
    )
    abnormal = {0: [], 1: [1, 1, 1], 2: [2], 3: [2, 2, 2]}
    rows = []
    for number, study in enumerate(ids):
        grades = abnormal[number % 4] + [0] * 25
        rows += [(study, *cell, grades[k]) for k, cell in enumerate(LUMBAR_CELLS)]
    labels = pd.DataFrame(rows, columns=["study", "condition", "level", "side", "grade"])
    return studies, labels.astype({"grade": "Int64"})


def test_fold_is_a_hash_of_salt_and_id() -> None:
    # First eight bytes of sha256("fold:7:1000"), worked out with sha256sum.
    assert fold_of("1000", 5, 7) == 0x9BA3AC077E276C9B % 5


def test_strata_by_hand() -> None:
    cells = list(LUMBAR_CELLS)
    grades = {
        "a": [1, 1], "b": [1, 1, 1], "c": [2], "d": [2, 2, 1, 1, 1], "e": [2, 2, 2],
        "f": [None, None, None, 1],
    }  # fmt: skip
    rows = [
        (study, *cells[k], values[k] if k < len(values) else 0)
        for study, values in grades.items()
        for k in range(25)
    ]
    labels = pd.DataFrame(rows, columns=["study", "condition", "level", "side", "grade"])
    strata = severity_strata(labels.astype({"grade": "Int64"}))
    assert strata.to_dict() == {"a": 0, "b": 1, "c": 2, "d": 2, "e": 3, "f": 0}


def test_balance_by_hand() -> None:
    fold = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    one = np.zeros(9, dtype=int)
    assert balance(fold, one, 3) == pytest.approx(2 / 3)
    # Stratum 1 has folds 0, 0, 1, 2: a fair share of one each, which all three have.
    stratum = np.array([1, 1, 0, 0, 1, 0, 0, 1, 0])
    assert balance(fold, stratum, 3) == pytest.approx(2 / 3)
    assert balance(np.array([0, 1, 2, 0, 1, 2]), np.array([0, 0, 0, 1, 1, 1]), 3) == 1.0
    assert balance(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), 2) == 0.0


def test_every_train_study_gets_a_fold_and_no_test_study() -> None:
    studies, labels = make_tables(40, without_images=2)
    table = split_folds(studies, labels, 3, salt=4)
    assert list(table["study"]) == [str(1000 + number) for number in range(40)]
    assert list(table["stratum"]) == [number % 4 for number in range(40)]
    assert [fold_of(study, 3, 4) for study in table["study"]] == list(table["fold"])


def test_joining_studies_and_mended_labels_move_nobody() -> None:
    studies, labels = make_tables(60)
    small = split_folds(*make_tables(30), 3).set_index("study")["fold"]
    labels["grade"] = (labels["grade"] + 1) % 3
    large = split_folds(studies.sample(frac=1, random_state=1), labels, 3).set_index("study")
    assert large.loc[small.index, "fold"].equals(small)


def test_severity_has_no_part_in_a_fold_and_no_page_claims_it() -> None:
    studies, labels = make_tables(24)
    for grade in (0, 2):
        alike = labels.assign(grade=pd.array([grade] * len(labels), dtype="Int64"))
        table = split_folds(studies, alike, 2)
        assert set(table["stratum"]) == {0 if grade == 0 else 3}
        assert [fold_of(study, 2, 0) for study in table["study"]] == list(table["fold"])
    pages = [PROJECT / "README.md", PROJECT / "workflow_config.yaml"]
    for pattern in ("docs/**/*.md", "resources/**/*.yaml", "rules/**/*.smk"):
        pages += PROJECT.glob(pattern)
    assert len(pages) > 30
    for page in pages:
        text = " ".join(page.read_text(encoding="utf-8").split())
        assert not re.findall(r"(?<!not )stratified|within severity strata", text), page


@pytest.mark.parametrize("count", [48, 60, 96])
def test_suggested_salt_balances_small_cohorts(count: int) -> None:
    _, labels = make_tables(count)
    strata = severity_strata(labels)
    salt, reached = suggest_salt(strata, 3, tried=400)
    fold = np.array([fold_of(study, 3, salt) for study in strata.index])
    assert reached == balance(fold, strata.to_numpy(), 3) >= 0.75


@pytest.mark.parametrize("count", [48, 60])
def test_default_salt_fits_the_default_phantom_cohort(count: int) -> None:
    config = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())
    settings = PhantomSettings.from_config(config["phantom"])
    ids = [study_id(settings, "train", number) for number in range(count)]
    folds, salt = config["cohort"]["folds"], config["cohort"]["fold_salt"]
    sizes = np.bincount([fold_of(study, folds, salt) for study in ids], minlength=folds)
    assert sizes.min() >= 0.9 * count / folds


def test_uneven_folds_are_told_with_a_salt_that_helps(caplog: pytest.LogCaptureFixture) -> None:
    studies, labels = make_tables(24)
    strata = severity_strata(labels)

    def reached(salt: int) -> float:
        return balance(np.array([fold_of(s, 2, salt) for s in strata.index]), strata.to_numpy(), 2)

    bad = next(salt for salt in range(200) if reached(salt) < 0.5)
    with caplog.at_level(logging.INFO, "spinegrade"):
        split_folds(studies, labels, 2, salt=bad)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    better, share = suggest_salt(strata, 2)
    assert len(warnings) == 1
    assert f"cohort.fold_salt: {better} (now {bad})" in warnings[0] and share >= 0.6


def test_fewer_studies_than_folds_are_refused() -> None:
    with refused("FOLDS_TOO_MANY", 5, 4, key="cohort.folds"):
        split_folds(*make_tables(6, without_images=2), 5)


def test_an_empty_fold_is_refused_with_a_salt_that_helps() -> None:
    studies, labels = make_tables(4)
    ids = [str(1000 + n) for n in range(4)]
    empty = next(s for s in range(500) if len({fold_of(i, 3, s) for i in ids}) < 3)
    with refused("FOLDS_EMPTY") as caught:
        split_folds(studies, labels, 3, salt=empty)
    better = int(str(caught.value).split("fold_salt: ")[1].split()[0])
    assert set(split_folds(studies, labels, 3, salt=better)["fold"]) == {0, 1, 2}


def write_folds(path: Path, rows: list[str], header: str = "study,fold") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize("header", ["study,fold", "study_id,Fold"])
def test_own_folds_are_taken(tmp_path: Path, header: str) -> None:
    rows = [f"{1000 + n},{n % 3}" for n in reversed(range(9))]
    path = write_folds(tmp_path / "mine.csv", rows, header)
    table = split_folds(*make_tables(9), 3, folds_file=path)
    assert list(table["fold"]) == [0, 1, 2] * 3
    assert list(table["study"]) == [str(1000 + n) for n in range(9)]


OWN_REFUSALS = [
    ("1003,1", "1003,3", ["unknown fold", "line 5, study 1003", "'3'", "0 to 2", "cohort.folds"]),
    ("1003,1", "1003,-1", ["unknown fold", "'-1'"]),
    ("1003,1", "1003,1.0", ["unknown fold", "'1.0'"]),
    ("1003,1", "1002,1",
     ["study named twice", "study 1002 is in fold 2 (line 4) and fold 1 (line 5)",
      "study without a fold", "study 1003"]),
    ("1003,1", "1003,1\n777,1", ["unknown study", "line 6, study 777", "studies of train.csv"]),
    ("1003,1\n", "", ["study without a fold", "study 1003 of train.csv has no row"]),
    ("study,fold", "study,part", ["missing column: no column 'fold'"]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), OWN_REFUSALS)
def test_own_folds_are_checked(tmp_path: Path, old: str, new: str, said: list[str]) -> None:
    path = write_folds(tmp_path / "mine.csv", ["1000,0", "1001,0", "1002,2", "1003,1"])
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with refused("COHORT_FAULTS", path, *said):
        read_folds(path, ["1000", "1001", "1002", "1003"], 3)


def test_own_folds_may_not_leave_a_fold_empty(tmp_path: Path) -> None:
    path = write_folds(tmp_path / "mine.csv", [f"{1000 + n},0" for n in range(9)])
    with refused("FOLDS_EMPTY", "1, 2", path):
        split_folds(*make_tables(9), 3, folds_file=path)
