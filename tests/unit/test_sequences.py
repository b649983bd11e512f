"""Slices of a level's range, worked out by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from refusals import refused
from spinegrade.sequences import choose_positions, with_neighbours
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.sequences import SEQUENCES


@pytest.mark.parametrize(
    ("first", "last", "positions", "jitter", "expected"),
    [
        (3, 13, 6, None, [13, 11, 9, 7, 5, 3]),
        # 7, 5.8, 4.6, 3.4, 2.2, 1
        (1, 7, 6, None, [7, 6, 5, 3, 2, 1]),
        # 5, 4.6, 4.2, 3.8, 3.4, 3: three slices for six positions
        (3, 5, 6, None, [5, 5, 4, 4, 3, 3]),
        (4, 4, 6, None, [4] * 6),
        (2, 6, 1, None, [4]),
        (0, 20, 5, None, [20, 15, 10, 5, 0]),
        # 0.3 of the interval of 5 is 1.5 slices: 21.5 stays in the range, 3.5 is rounded to even.
        (0, 20, 5, 0.3, [20, 16, 12, 6, 2]),
        (0, 20, 5, [0.3, 0, -0.3, 0, -0.3], [20, 15, 8, 5, 0]),
    ],
)
def test_positions(first, last, positions, jitter, expected):
    assert choose_positions(first, last, positions, jitter).tolist() == expected


@pytest.mark.parametrize(("first", "last", "positions"), [(5, 4, 6), (-1, 4, 6), (0, 4, 0)])
def test_no_range_no_positions(first, last, positions):
    with refused("SLICES_EMPTY", positions):
        choose_positions(first, last, positions)


def test_neighbours_end_with_the_stack():
    found = with_neighbours([9, 4, 0], slices=10)
    assert found.tolist() == [[9, 9, 8], [5, 4, 3], [1, 0, 0]]


def test_graded_sides_are_yes_no_or_unknown(tmp_path):
    row = {"study": "1", "series": "2", "stack": 0, "start": 30, "slices": 20, "level": "l4_l5"}
    row |= {"z_index": 7.5, "first": 4, "last": 11, "left_graded": True, "right_graded": None}
    row |= {"confidence": 0.5, "source": "axial fold 0", "fold": None}
    write_table(tmp_path / "s.parquet", pd.DataFrame([row]), SEQUENCES)
    read = read_table(tmp_path / "s.parquet", SEQUENCES)
    assert read["left_graded"].tolist() == [True] and read["right_graded"].isna().all()
    with refused("TABLE_ROW_TWICE", "study=1, series=2, stack=0, level=l4_l5"):
        write_table(tmp_path / "s.parquet", pd.DataFrame([row, row]), SEQUENCES)
