"""docs/cohort.md says what the code does: codes, tables, columns, files."""

from __future__ import annotations

import re
from pathlib import Path

from spinegrade.cohort import layout, left_out
from spinegrade.tables.named import kind_named

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "cohort.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    level = title.split()[0]
    body = TEXT.split(f"\n{title}\n")[1]
    return re.split(rf"\n#{{1,{len(level)}}} ", body)[0]


def first_cells(text: str) -> list[str]:
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_every_code_is_documented_and_no_other() -> None:
    assert sorted(first_cells(section("## What is left out"))) == sorted(left_out.ACTIONS)
    named = {value for name, value in vars(left_out).items() if name.isupper() and value == name}
    assert named == set(left_out.ACTIONS)


def test_every_table_is_documented_with_its_columns() -> None:
    for kind in ("studies", "series", "labels", "landmarks", "folds", "rejected"):
        documented = first_cells(section(f"### `{kind}.parquet`"))
        assert sorted(documented) == sorted(kind_named(kind).columns), kind


def test_every_file_of_the_layout_is_documented() -> None:
    named = first_cells(section("## The folder"))
    for name in (*layout.REQUIRED, *layout.OPTIONAL):
        assert name in named
    for folder in (layout.TRAIN_IMAGES, layout.TEST_IMAGES):
        assert any(name.startswith(folder + "/") for name in named)
