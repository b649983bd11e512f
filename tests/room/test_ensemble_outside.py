"""Tables that others made: read, and refused by file and row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from refusals import refused
from spinegrade.combine.members import chosen_members
from spinegrade.combine.outside import OutsideTable, check_files, content_digest, read_outside
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_MRI, SPINAL
from spinegrade.settings import SCHEMA_FOLDER, check_settings
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS

COLUMNS = list(PROBABILITY_COLUMNS)
FOLD_OF = pd.Series(pd.array([0, 1, pd.NA], "Int64"), ["100", "101", "7"])
HEADER = "row_id,normal_mild,moderate,severe"
GOOD = "100_spinal_canal_stenosis_l1_l2,0.5,0.3,0.2"


def read(folder: Path, text: str, **changed: object) -> pd.DataFrame:
    file = folder / "mate.csv"
    file.write_text(text)
    return read_outside("mate", OutsideTable(file, **changed), FOLD_OF, LUMBAR_MRI)


def test_a_table_is_read_by_its_row_ids(tmp_path: Path) -> None:
    lines = [
        "severe,row_id,moderate,normal_mild",  # columns in any order
        "0.2,100_spinal_canal_stenosis_l1_l2,0.3,0.5",
        "",
        "0.25,7_left_neural_foraminal_narrowing_l5_s1,0.25,0.5004",  # off by less than 0.001
        "0.1, 101_right_subarticular_stenosis_l3_l4 ,0.1,8e-1",
    ]
    table = read(tmp_path, "\ufeff" + "\r\n".join(lines) + "\r\n")
    assert table["study"].tolist() == ["100", "7", "101"]
    key = table[["condition", "level", "side"]].to_numpy().tolist()
    assert key == [
        [SPINAL, "l1_l2", "central"],
        [FORAMINAL, "l5_s1", "left"],
        ["subarticular_stenosis", "l3_l4", "right"],
    ]
    assert table[COLUMNS].to_numpy()[[0, 2]].tolist() == [[0.5, 0.3, 0.2], [0.8, 0.1, 0.1]]
    # Divided by its sum, 1.0004, without a word.
    near = np.array([0.5004, 0.25, 0.25]) / 1.0004
    assert table[COLUMNS].to_numpy()[1] == pytest.approx(near)
    assert table["fold"].tolist() == [0, pd.NA, 1] and set(table["classifier"]) == {"mate"}


REFUSED = {
    "unknown study": (f"{HEADER}\n{GOOD}\n55_spinal_canal_stenosis_l1_l2,1,0,0\n",
        "STUDY_UNKNOWN", "line 3, row_id '55_spinal_canal_stenosis_l1_l2'", "'55'"),
    "unknown cell": (f"{HEADER}\n100_spinal_canal_stenosis_l5_l6,1,0,0\n",
        "CELL_UNKNOWN", "line 2, row_id '100_spinal_canal_stenosis_l5_l6'"),
    "no row id": (f"{HEADER}\n,1,0,0\n", "CELL_UNKNOWN", "line 2, row_id ''"),
    "repeated": (f"{HEADER}\n{GOOD}\n\n{GOOD}\n",
        "ROW_TWICE", "line 4, row_id '100_spinal_canal_stenosis_l1_l2'", "line 2"),
    "missing column": ("row_id,normal_mild,severe\n", "COLUMNS", "['moderate']"),
    "extra column": (f"{HEADER},study\n", "COLUMNS", "['study']"),
    "repeated column": (f"{HEADER},severe\n", "COLUMNS", "['severe']"),
    "text": (f"{HEADER}\n{GOOD.replace('0.3', 'some')}\n",
        "NO_NUMBER", "line 2", "moderate is 'some'"),
    "empty value": (f"{HEADER}\n{GOOD.replace('0.3', '')}\n",
        "NO_NUMBER", "line 2", "moderate is empty"),
    "not finite": (f"{HEADER}\n{GOOD.replace('0.3', 'inf')}\n",
        "NO_NUMBER", "line 2", "moderate is 'inf'"),
    "negative": (f"{HEADER}\n{GOOD.replace('0.3,0.2', '0.6,-0.1')}\n",
        "NEGATIVE", "line 2", "severe is -0.1"),
    "sum": (f"{HEADER}\n{GOOD.replace('0.5', '0.5011')}\n",
        "SUM", "line 2", "1.001100", "0.001", "normalise: true"),
    "fields": (f"{HEADER}\n{GOOD},1\n", "FIELDS", "line 2", "5 fields", "header 4"),
    "quotes": (f'{HEADER}\n"{GOOD}\n', "NO_CSV", "line 1"),
    "no rows": (f"{HEADER}\n", "EMPTY"),
    "nothing": ("", "EMPTY"),
    "another fold": (f"{HEADER},fold\n{GOOD},1\n",
        "OF_ANOTHER_FOLD", "line 2", "fold is 1", "fold 0"),
    "no fold": (f"{HEADER},fold\n{GOOD},\n", "OF_ANOTHER_FOLD", "line 2", "fold is none", "fold 0"),
    "fold of a new study": (f"{HEADER},fold\n{GOOD.replace('100_', '7_')},2\n",
        "OF_ANOTHER_FOLD", "fold is 2", "fold none"),
    "fold in words": (f"{HEADER},fold\n{GOOD},first\n", "NO_NUMBER", "fold is 'first'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_by_file_and_row(tmp_path: Path, case: str) -> None:
    text, code, *values = REFUSED[case]
    with refused(f"OUTSIDE_{code}", "mate.csv", *values):
        read(tmp_path, text)


def test_a_table_with_semicolons_is_refused_in_one_sentence(tmp_path: Path) -> None:
    text = f"{HEADER}\n{GOOD}\n".replace(",", ";")
    with refused("OUTSIDE_SEPARATOR", "mate.csv", "semicolons"):
        read(tmp_path, text)


def test_rows_of_any_sum_are_divided_where_that_is_asked_for(tmp_path: Path) -> None:
    odds = f"{HEADER}\n100_spinal_canal_stenosis_l1_l2,50,30,20\n"
    table = read(tmp_path, odds, normalise=True)
    assert table[COLUMNS].to_numpy()[0] == pytest.approx([0.5, 0.3, 0.2])
    with refused("OUTSIDE_SUM", "100.000000"):
        read(tmp_path, odds)
    nothing = f"{HEADER}\n{GOOD}\n100_spinal_canal_stenosis_l2_l3,0,0,0\n"
    with refused("OUTSIDE_SUM", "line 3", "0.0"):
        read(tmp_path, nothing, normalise=True)
    with refused("OUTSIDE_NEGATIVE", "severe is -1"):
        read(tmp_path, f"{HEADER}\n100_spinal_canal_stenosis_l1_l2,3,2,-1\n", normalise=True)


def test_the_studys_own_fold_is_taken(tmp_path: Path) -> None:
    new = GOOD.replace("100_", "7_")
    table = read(tmp_path, f"{HEADER},fold\n{GOOD},0\n{new},\n")
    assert table["fold"].tolist() == [0, pd.NA]
    # A finished run that is applied has seen none of the studies, whatever their folds here.
    file = tmp_path / "mate.csv"
    file.write_text(f"{HEADER},fold\n{GOOD},4\n")
    assert (
        len(read_outside("mate", OutsideTable(file), FOLD_OF, LUMBAR_MRI, compare_folds=False)) == 1
    )


def test_parquet_is_read_alike_and_refused_by_row(tmp_path: Path) -> None:
    file = tmp_path / "mate.parquet"
    frame = pd.DataFrame(
        {
            "row_id": ["7_spinal_canal_stenosis_l1_l2", "100_spinal_canal_stenosis_l1_l2"],
            "normal_mild": np.array([0.5, 0.25], np.float32),
            "moderate": np.array([0.3, 0.25], np.float32),
            "severe": np.array([0.2, 0.5], np.float32),
            "fold": pd.array([pd.NA, 0], "Int64"),
        }
    )
    frame.iloc[::-1].to_parquet(file)  # with an index that is no column
    table = read_outside("mate", OutsideTable(file), FOLD_OF, LUMBAR_MRI)
    assert table["study"].tolist() == ["100", "7"] and table["fold"].tolist() == [0, pd.NA]
    assert table[COLUMNS].to_numpy()[0].tolist() == [0.25, 0.25, 0.5]
    cases = {
        ("NO_NUMBER", "row 1, row_id '100_", "severe is empty"): frame.assign(severe=[0.2, np.nan]),
        ("NO_NUMBER", "row 0, row_id '7_", "severe is True"): frame.assign(severe=[True, False]),
        ("CELL_UNKNOWN", "row 0, row_id 7"): frame.assign(row_id=[7, 8]),
        ("ROW_TWICE", "row 1, row_id '7_", "row 0"): frame.assign(row_id=frame["row_id"].iloc[0]),
    }
    for (code, *values), broken in cases.items():
        broken.to_parquet(file, index=False)
        with refused(f"OUTSIDE_{code}", file, *values):
            read_outside("mate", OutsideTable(file), FOLD_OF, LUMBAR_MRI)
    file.write_bytes(b"PAR1 no table")
    with refused("OUTSIDE_NO_PARQUET", file):
        read_outside("mate", OutsideTable(file), FOLD_OF, LUMBAR_MRI)


def test_names_and_files_are_checked_before_anything_runs(tmp_path: Path) -> None:
    assert chosen_members("all", ["a"], ["b"]) == (["a"], ["b"])
    assert chosen_members(["b"], ["a"], ["b", "c"]) == ([], ["b"])
    for name in ("a", "prior", "ensemble"):
        with refused("MEMBER_NAME_TAKEN", key=f"combine.outside.{name}"):
            chosen_members("all", ["a"], [name])
    with refused("MEMBER_UNKNOWN", "['d']", "['a']", "['b']", key="combine.members"):
        chosen_members(["d"], ["a"], ["b"])
    with refused("OUTSIDE_NO_FILE", "none.csv", key="combine.outside.b.path"):
        check_files({"b": {"path": str(tmp_path / "none.csv")}})
    with refused("OUTSIDE_UNREADABLE", "none.csv"):
        content_digest(tmp_path / "none.csv")
    file = tmp_path / "b.csv"
    file.write_text("one")
    before = content_digest(file)
    file.write_text("two")
    assert content_digest(file) != before and len(before) == 16


@pytest.mark.parametrize(
    ("block", "key", "value"),
    [
        ({"outside": {"Mate": {"path": "a.csv"}}}, "outside", "'Mate'"),
        ({"outside": {"mate": {"path": "a.txt"}}}, "outside.mate.path", "'a.txt'"),
        ({"outside": {"mate": {"normalise": True}}}, "outside.mate.path", ""),
        ({"outside": {"mate": {"path": "a.csv", "blend": "logits"}}}, "outside.mate.blend", ""),
        ({"blend": "logit"}, "blend", "'logit'"),
        ({"prune": 0.7}, "prune", 0.7),
        ({"leave_one_out": "never"}, "leave_one_out", "'never'"),
    ],
)
def test_the_configuration_is_refused_by_key(block: dict, key: str, value: object) -> None:
    config = yaml.safe_load((SCHEMA_FOLDER.parents[2] / "workflow_config.yaml").read_text())
    config["combine"] |= block
    with refused("SETTINGS", value, key=f"combine.{key}"):
        check_settings(config)
