"""Names from tables, folders and headers never lead a file out of its place."""

from __future__ import annotations

import copy
import csv
import gzip
import os
from pathlib import Path

import pandas as pd
import pytest
from dicom_helpers import AXIAL, voxels, write_stack
from path_helpers import SERIES, STUDY, came, deliver, run, tree, write_rows
from refusals import refused
from spinegrade.cohort.folds import read_folds
from spinegrade.cohort.index import index_cohort
from spinegrade.combine.submission import write_submission
from spinegrade.convert.shard import convert_shard
from spinegrade.errors import SpinegradeError
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS, LUMBAR_MRI
from spinegrade.runtime.files import inside
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from spinegrade.tables.probabilities import PROBABILITIES
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.series import SERIES as SERIES_TABLE
from spinegrade.tables.slices import SLICES
from spinegrade.tables.stacks import STACKS
from spinegrade.tables.studies import STUDIES
from spinegrade.volumes import load_stacks

# What may stand where an id should: ways out of a folder, control characters, digits that are
# none, names that a file system, a shell or a page takes for something else.
HOSTILE_IDS = {
    "parent": "../x",
    "parents": "../../../../etc/passwd",
    "root": "/etc/x",
    "windows parent": "..\\x",
    "drive": "C:\\x",
    "inner parent": "1/../2",
    "two parts": "1/2",
    "here": ".",
    "above": "..",
    "nothing": "",
    "zero byte": "1\x002",
    "new line": "1\n2",
    "return": "1\r2",
    "escape": "\x1b[2J",
    "wide digits": "\uff11\uff12",
    "arabic digits": "\u0661\u0662",
    "superscript": "1\u00b2",
    "right to left": "1\u202e2",
    "too long": "1" * 65,
    "negative": "-1",
    "decimal": "1.0",
    "exponent": "1e3",
    "underscore": "1_0",
    "percent": "%2e%2e%2f",
    "wildcard": "{study}",
    "star": "*",
    "shell": "$(touch owned)",
    "option": "--help",
    "home": "~",
    "tag": "<script>alert(1)</script>",
}


# Table, column, row: the places at which an id enters.
ENTRIES = [
    ("train.csv", 0),
    ("train_series_descriptions.csv", 0),
    ("train_series_descriptions.csv", 1),
    ("test_series_descriptions.csv", 0),
    ("test_series_descriptions.csv", 1),
    ("train_label_coordinates.csv", 0),
    ("train_label_coordinates.csv", 1),
    ("sample_submission.csv", 0),
]


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deliver(tmp_path_factory.mktemp("delivered") / "data")


@pytest.mark.parametrize(("table", "column"), ENTRIES)
def test_a_hostile_id_in_a_table_is_refused_before_anything_is_written(
    delivered: Path, table: str, column: int
) -> None:
    original = (delivered / table).read_bytes()
    with (delivered / table).open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    try:
        for name, value in HOSTILE_IDS.items():
            changed = copy.deepcopy(rows)
            changed[1][column] = f"{value}_{changed[1][0].partition('_')[2]}" if table.startswith(
                "sample") else value  # fmt: skip
            write_rows(delivered / table, changed)
            before = tree(delivered.parent)
            with pytest.raises(SpinegradeError) as caught:
                index_cohort(delivered, 1, delivered.parent / "results")
            assert table in str(caught.value), name
            assert "\x1b" not in str(caught.value) and "\0" not in str(caught.value), name
            assert tree(delivered.parent) == before, name
    finally:
        (delivered / table).write_bytes(original)


def test_the_cohort_is_good_without_hostile_ids(tmp_path: Path) -> None:
    deliver(tmp_path / "data")
    before = tree(tmp_path)
    assert run(tmp_path).empty
    assert came(before, tree(tmp_path)) == {"results"}


def test_a_packed_table_is_held_to_the_same(delivered: Path) -> None:
    original = (delivered / "train.csv").read_bytes()
    (delivered / "train.csv").unlink()
    packed = delivered / "train.csv.gz"
    try:
        packed.write_bytes(gzip.compress(original.replace(STUDY.encode(), b"../../x", 1)))
        with refused("COHORT_FAULTS", "id is not a number"):
            index_cohort(delivered, 1, delivered.parent / "results")
        assert not (delivered.parent / "results").exists()
    finally:
        packed.unlink()
        (delivered / "train.csv").write_bytes(original)


@pytest.mark.parametrize("value", HOSTILE_IDS.values(), ids=HOSTILE_IDS)
def test_a_hostile_id_in_a_file_of_folds_is_refused(tmp_path: Path, value: str) -> None:
    write_rows(tmp_path / "folds.csv", [["study", "fold"], ["1", "0"], ["2", "1"], [value, "1"]])
    with pytest.raises(SpinegradeError):
        read_folds(tmp_path / "folds.csv", ["1", "2"], 2)


# Names that a folder or file on disk may have. True: it is plain, and may be read.
HOSTILE_NAMES = {
    "new line": ("a\nb", False),
    "escape": ("\x1b[31m", False),
    "backslash": ("a\\..\\x", False),
    "right to left": ("a\u202eb", False),
    "no UTF-8": (os.fsdecode(b"a\xff"), False),
    "beyond ASCII": ("r\u00fccken", True),
    "shell": ("$(touch owned)", True),
    "option": ("-rf", True),
    "tag": ("<script>alert(1)</script>", False),
    "quotes": ("a'b\"c", True),
    "wildcard": ("{study}", True),
    "dots": ("a...", True),
    "long": ("n" * 240, True),
}


@pytest.mark.parametrize("case", HOSTILE_NAMES)
def test_a_hostile_file_name_costs_its_file_at_most(tmp_path: Path, case: str) -> None:
    name, plain = HOSTILE_NAMES[case]
    if "/" in name:
        name = name.replace("/", "\u2215")
        plain = True
    folder = deliver(tmp_path / "data") / "train_images" / STUDY / SERIES[2]
    (folder / "1.dcm").rename(folder / f"{name}.dcm")
    before = tree(tmp_path)
    rejected = run(tmp_path)
    assert came(before, tree(tmp_path)) == {"results"}
    slices = read_table(tmp_path / "results/convert/0/slices.parquet", SLICES)
    told = [*rejected["file"].dropna(), *slices["file"]]
    assert all(file.isascii() and file.isprintable() for file in told)
    unsafe = rejected[rejected["code"] == "UNSAFE_PATH"]
    assert len(unsafe) == (0 if plain else 1)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("level", ["study", "series"])
@pytest.mark.parametrize("case", HOSTILE_NAMES)
def test_a_hostile_folder_that_no_table_names_is_listed_and_left(
    tmp_path: Path, case: str, level: str
) -> None:
    name = HOSTILE_NAMES[case][0].replace("/", "\u2215")
    images = deliver(tmp_path / "data") / "train_images"
    place = images / name / SERIES[0] if level == "study" else images / STUDY / name
    write_stack(place, voxels(4, 12, 12), AXIAL)
    before = tree(tmp_path)
    assert run(tmp_path).empty
    assert came(before, tree(tmp_path)) == {"results"}
    listed = read_table(tmp_path / "results/cohort/rejected.parquet", REJECTED)
    told = listed["study"] if level == "study" else listed["series"]
    assert len(listed) == 1 and told[0].isascii() and told[0].isprintable()
    assert not list((tmp_path / "results").rglob(f"*{name[:20]}*")) or name.startswith("{")


@pytest.mark.parametrize("column", ["study", "series", "folder"])
@pytest.mark.parametrize("value", ["../x", "/etc", "..\\x", "..", "a\0b", "a\nb", "a/../../b", ""])
def test_a_hostile_row_of_the_series_table_is_refused_by_code(
    tmp_path: Path, column: str, value: str
) -> None:
    deliver(tmp_path / "data")
    index_cohort(tmp_path / "data", 1, tmp_path / "results" / "cohort")
    path = tmp_path / "results" / "cohort" / "series.parquet"
    table = read_table(path, SERIES_TABLE)
    table.loc[0, column] = value
    write_table(path, table, SERIES_TABLE)
    before = tree(tmp_path)
    convert_shard(path, 0, tmp_path / "data", tmp_path / "results" / "convert", {}, "a")
    assert came(before, tree(tmp_path)) == {"results"}
    rejected = read_table(tmp_path / "results/convert/0/rejected.parquet", REJECTED)
    assert rejected["code"].tolist() == ["UNSAFE_PATH"]
    written = {path.name for path in (tmp_path / "results/convert/volumes").iterdir()}
    assert written <= {STUDY, "102"}


@pytest.mark.parametrize("value", [*HOSTILE_IDS.values()], ids=HOSTILE_IDS)
def test_names_are_one_plain_part_of_a_path(tmp_path: Path, value: str) -> None:
    try:
        path = inside(tmp_path, value)
    except SpinegradeError:
        return
    assert path.parent == tmp_path and path.resolve().parent == tmp_path.resolve()
    assert "\0" not in value and "\n" not in value


@pytest.mark.parametrize("volume", ["../../secret.nii", "/etc/passwd", "volumes/../../x.nii"])
def test_a_row_of_the_stacks_table_cannot_name_a_file_elsewhere(
    tmp_path: Path, volume: str
) -> None:
    deliver(tmp_path / "data")
    run(tmp_path)
    path = tmp_path / "results/convert/0/stacks.parquet"
    table = read_table(path, STACKS)
    table.loc[0, "volume"] = volume
    write_table(path, table, STACKS)
    with pytest.raises(SpinegradeError):
        load_stacks([path])


def test_a_submission_holds_no_row_that_only_its_sample_names(tmp_path: Path) -> None:
    cells = LUMBAR_CELLS
    studies = {"study": ["102"], "split": ["test"], "region": ["lumbar"], "shard": [0]}
    studies |= {"series_count": [3], "problem": [None]}
    write_table(tmp_path / "studies.parquet", pd.DataFrame(studies), STUDIES)
    rows = [{"study": "102", "condition": c.condition, "level": c.level, "side": c.side,
             **dict.fromkeys(PROBABILITY_COLUMNS, 1 / 3), "classifier": "e", "fold": None,
             "source": "prior", "members": "", "prior_weight": 1.0} for c in cells]  # fmt: skip
    table = pd.DataFrame(rows).astype({"fold": "Int64"})
    write_table(tmp_path / "probabilities.parquet", table, PROBABILITIES)
    sample = [["row_id"], *[[f"102_{cell.column}"] for cell in cells], ["../../x_y"]]
    write_rows(tmp_path / "sample.csv", sample)
    before = tree(tmp_path)
    with refused("SUBMISSION_ROW_UNKNOWN"):
        write_submission(
            tmp_path / "probabilities.parquet",
            tmp_path / "studies.parquet",
            tmp_path / "sample.csv",
            tmp_path / "submission.csv",
            region=LUMBAR_MRI,
        )
    assert tree(tmp_path) == before
