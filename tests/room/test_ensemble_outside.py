"""Tables that others made: read, and refused by file and row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from spinegrade.combine.members import chosen_members
from spinegrade.combine.outside import OutsideTable, check_files, content_digest, read_outside
from spinegrade.errors import SpinegradeError
from spinegrade.names import FORAMINAL, PROBABILITY_COLUMNS, SPINAL
from spinegrade.settings import SCHEMA_FOLDER, check_settings

COLUMNS = list(PROBABILITY_COLUMNS)
FOLD_OF = pd.Series(pd.array([0, 1, pd.NA], "Int64"), ["100", "101", "7"])
HEADER = "row_id,normal_mild,moderate,severe"
GOOD = "100_spinal_canal_stenosis_l1_l2,0.5,0.3,0.2"


def read(folder: Path, text: str, **changed: object) -> pd.DataFrame:
    file = folder / "mate.csv"
    file.write_text(text)
    return read_outside("mate", OutsideTable(file, **changed), FOLD_OF)


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
        r"mate.csv: line 3, row_id '55_spinal_canal_stenosis_l1_l2': study '55' is not in this"),
    "unknown cell": (f"{HEADER}\n100_spinal_canal_stenosis_l5_l6,1,0,0\n",
        r"line 2, row_id '100_spinal_canal_stenosis_l5_l6': there is no such cell; expected <st"),
    "no row id": (f"{HEADER}\n,1,0,0\n", "line 2, row_id '': there is no such cell"),
    "repeated": (f"{HEADER}\n{GOOD}\n\n{GOOD}\n",
        r"line 4, row_id '100_spinal_canal_stenosis_l1_l2': repeats line 2; each cell may app"),
    "missing column": ("row_id,normal_mild,severe\n", r"mate.csv: missing columns \['moderate'\]"),
    "extra column": (f"{HEADER},study\n", r"unknown columns \['study'\].*expected a CSV or Parq"),
    "repeated column": (f"{HEADER},severe\n", r"repeated columns \['severe'\]"),
    "text": (f"{HEADER}\n{GOOD.replace('0.3', 'some')}\n", "line 2.*moderate is 'some', no finite"),
    "empty value": (f"{HEADER}\n{GOOD.replace('0.3', '')}\n", "line 2.*moderate is empty, no"),
    "not finite": (f"{HEADER}\n{GOOD.replace('0.3', 'inf')}\n", "line 2.*moderate is 'inf', no"),
    "negative": (f"{HEADER}\n{GOOD.replace('0.3,0.2', '0.6,-0.1')}\n",
        "line 2.*severe is -0.1; probabilities must not be negative"),
    "sum": (f"{HEADER}\n{GOOD.replace('0.5', '0.5011')}\n",
        r"line 2.*sum to 1.001100; they must sum to 1 within 0.001.*normalise: true"),
    "fields": (f"{HEADER}\n{GOOD},1\n", "line 2 has 5 fields, the header 4"),
    "quotes": (f'{HEADER}\n"{GOOD}\n', "after line 1.*expected UTF-8 CSV text"),
    "no rows": (f"{HEADER}\n", "holds no row"),
    "nothing": ("", "mate.csv: empty; expected a CSV or Parquet file"),
    "another fold": (f"{HEADER},fold\n{GOOD},1\n",
        "line 2.*fold is 1, but its study is in fold 0; a model of another fold may have been"),
    "no fold": (f"{HEADER},fold\n{GOOD},\n", "line 2.*fold is none, but its study is in fold 0"),
    "fold of a new study": (f"{HEADER},fold\n{GOOD.replace('100_', '7_')},2\n",
        "fold is 2, but its study is in fold none"),
    "fold in words": (f"{HEADER},fold\n{GOOD},first\n", "fold is 'first', no finite number"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_by_file_and_row(tmp_path: Path, case: str) -> None:
    text, words = REFUSED[case]
    with pytest.raises(SpinegradeError, match=words):
        read(tmp_path, text)


def test_a_table_with_semicolons_is_refused_in_one_sentence(tmp_path: Path) -> None:
    text = f"{HEADER}\n{GOOD}\n".replace(",", ";")
    with pytest.raises(SpinegradeError, match=r"mate\.csv: semicolons separate its fields; save"):
        read(tmp_path, text)


def test_rows_of_any_sum_are_divided_where_that_is_asked_for(tmp_path: Path) -> None:
    odds = f"{HEADER}\n100_spinal_canal_stenosis_l1_l2,50,30,20\n"
    table = read(tmp_path, odds, normalise=True)
    assert table[COLUMNS].to_numpy()[0] == pytest.approx([0.5, 0.3, 0.2])
    with pytest.raises(SpinegradeError, match=r"sum to 100\.000000; they must sum to 1"):
        read(tmp_path, odds)
    nothing = f"{HEADER}\n{GOOD}\n100_spinal_canal_stenosis_l2_l3,0,0,0\n"
    with pytest.raises(SpinegradeError, match=r"line 3.*sum to 0\.0.*nothing can be divided"):
        read(tmp_path, nothing, normalise=True)
    with pytest.raises(SpinegradeError, match="severe is -1"):
        read(tmp_path, f"{HEADER}\n100_spinal_canal_stenosis_l1_l2,3,2,-1\n", normalise=True)


def test_the_studys_own_fold_is_taken(tmp_path: Path) -> None:
    new = GOOD.replace("100_", "7_")
    table = read(tmp_path, f"{HEADER},fold\n{GOOD},0\n{new},\n")
    assert table["fold"].tolist() == [0, pd.NA]
    # A finished run that is applied has seen none of the studies, whatever their folds here.
    file = tmp_path / "mate.csv"
    file.write_text(f"{HEADER},fold\n{GOOD},4\n")
    assert len(read_outside("mate", OutsideTable(file), FOLD_OF, compare_folds=False)) == 1


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
    table = read_outside("mate", OutsideTable(file), FOLD_OF)
    assert table["study"].tolist() == ["100", "7"] and table["fold"].tolist() == [0, pd.NA]
    assert table[COLUMNS].to_numpy()[0].tolist() == [0.25, 0.25, 0.5]
    cases = {
        "row 1, row_id '100_.*severe is empty": frame.assign(severe=[0.2, np.nan]),
        "row 0, row_id '7_.*severe is True": frame.assign(severe=[True, False]),
        r"row 0, row_id 7: there is no such cell": frame.assign(row_id=[7, 8]),
        "row 1, row_id '7_.*repeats row 0": frame.assign(row_id=frame["row_id"].iloc[0]),
    }
    for words, broken in cases.items():
        broken.to_parquet(file, index=False)
        with pytest.raises(SpinegradeError, match=words):
            read_outside("mate", OutsideTable(file), FOLD_OF)
    file.write_bytes(b"PAR1 no table")
    with pytest.raises(SpinegradeError, match="no Parquet table that can be read"):
        read_outside("mate", OutsideTable(file), FOLD_OF)


def test_names_and_files_are_checked_before_anything_runs(tmp_path: Path) -> None:
    assert chosen_members("all", ["a"], ["b"]) == (["a"], ["b"])
    assert chosen_members(["b"], ["a"], ["b", "c"]) == ([], ["b"])
    for name in ("a", "prior", "ensemble"):
        with pytest.raises(SpinegradeError, match=rf"ensemble\.outside\.{name}: the name is that"):
            chosen_members("all", ["a"], [name])
    with pytest.raises(SpinegradeError, match=r"names \['d'\].*classifiers \['a'\].*\['b'\]"):
        chosen_members(["d"], ["a"], ["b"])
    with pytest.raises(SpinegradeError, match=r"outside\.b\.path is '.*': there is no such file"):
        check_files({"b": {"path": str(tmp_path / "none.csv")}})
    with pytest.raises(SpinegradeError, match=r"none\.csv: cannot be read \(No such file"):
        content_digest(tmp_path / "none.csv")
    file = tmp_path / "b.csv"
    file.write_text("one")
    before = content_digest(file)
    file.write_text("two")
    assert content_digest(file) != before and len(before) == 16


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"outside": {"Mate": {"path": "a.csv"}}}, "'Mate'"),
        ({"outside": {"mate": {"path": "a.txt"}}}, r"ensemble\.outside\.mate\.path is 'a.txt'"),
        ({"outside": {"mate": {"normalise": True}}}, r"outside\.mate\.path is missing"),
        ({"outside": {"mate": {"path": "a.csv", "blend": "logits"}}}, r"outside\.mate\.blend"),
        ({"blend": "logit"}, r"ensemble\.blend is 'logit'; it must be 'probabilities' or 'logits'"),
        ({"prune": 0.7}, r"ensemble\.prune is 0\.7"),
        ({"leave_one_out": "never"}, r"ensemble\.leave_one_out is 'never'"),
    ],
)
def test_the_configuration_is_refused_by_key(block: dict, words: str) -> None:
    config = yaml.safe_load((SCHEMA_FOLDER.parents[2] / "workflow_config.yaml").read_text())
    config["ensemble"] |= block
    with pytest.raises(SpinegradeError, match=words):
        check_settings(config)
