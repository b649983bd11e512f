"""Tables are checked on write and on read; the first offending row is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from refusals import refused
from spinegrade.errors import SpinegradeError
from spinegrade.runtime import fingerprint
from spinegrade.tables.files import empty_table, read_table, read_tables, write_table
from spinegrade.tables.labels import LABELS
from spinegrade.tables.named import kind_named, kind_names


def labels(**changes: object) -> pd.DataFrame:
    row = {
        "study": "7",
        "condition": "spinal_canal_stenosis",
        "level": "l4_l5",
        "side": "central",
        "grade": 2,
    }
    return pd.DataFrame([{**row, **changes}])


def test_round_trip_keeps_text_ids_and_null_grades(tmp_path: Path) -> None:
    table = pd.concat([labels(study="007"), labels(study="8", grade=None)])
    write_table(tmp_path / "labels.parquet", table, LABELS)
    read = read_table(tmp_path / "labels.parquet", LABELS)
    assert read["study"].tolist() == ["007", "8"]
    assert read["grade"].isna().tolist() == [False, True]
    assert str(read["grade"].dtype) == "Int64"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grade": 3}, ["grade", "3"]),
        ({"level": "l6_s1"}, ["level", "l6_s1"]),
        ({"sides": "left"}, ["unknown columns", "sides"]),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, object], words: list[str]
) -> None:
    path = tmp_path / "labels.parquet"
    with pytest.raises(SpinegradeError) as caught:
        write_table(path, labels(**changes), LABELS)
    for word in [*words, str(path)]:
        assert word in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_repeated_key_is_named(tmp_path: Path) -> None:
    twice = pd.concat([labels(), labels()])
    with refused("TABLE_ROW_TWICE", "row 1", "study=7"):
        write_table(tmp_path / "labels.parquet", twice, LABELS)


def test_shards_join_and_empty_shards_are_fine(tmp_path: Path) -> None:
    write_table(tmp_path / "0.parquet", labels(), LABELS)
    write_table(tmp_path / "1.parquet", empty_table(LABELS), LABELS)
    joined = read_tables([tmp_path / "0.parquet", tmp_path / "1.parquet"], LABELS)
    assert len(joined) == 1


def test_every_schema_has_an_empty_table() -> None:
    for name in kind_names():
        kind = kind_named(name)
        assert kind.name == name
        assert list(empty_table(kind)) == list(kind.columns)


def test_an_absent_table_is_named(tmp_path: Path) -> None:
    with refused("TABLE_MISSING", "absent.parquet", "labels"):
        read_table(tmp_path / "absent.parquet", LABELS)


STAGES = {
    "convert_dicom": {"series", "stacks", "slices", "copies", "rejected"},
    "split_folds": {"studies", "labels", "folds"},
    "write_submission": {"studies", "probabilities"},
    "prepare_canvases": {"stacks"},
}
"""Stages, and the kinds of tables that they read or write."""


@pytest.mark.parametrize("stage", STAGES)
def test_an_edit_of_a_kind_changes_the_code_of_those_that_use_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    copied = tmp_path / "scripts"
    shutil.copytree(fingerprint.SCRIPTS, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "SCRIPTS", copied)
    before, changed = fingerprint.code_fingerprint(stage), set()
    for name in kind_names():
        path = copied / "spinegrade" / "tables" / f"{name}.py"
        text = path.read_text()
        path.write_text(f"{text}\nNEW = 1\n")
        if fingerprint.code_fingerprint(stage) != before:
            changed.add(name)
        path.write_text(text)
    assert changed == STAGES[stage]
