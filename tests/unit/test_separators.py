"""What separates the fields of a table, told from its header."""

from __future__ import annotations

import io

import pytest
from spinegrade.separators import other_separator

WANTED = ("study_id", "x", "y")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("study_id,x,y\n1,2,3\n", None),
        ("study_id;x;y\n1;2,5;3,5\n", "semicolons"),
        ("study_id\tx\ty\n", "tabs"),
        ("study_id|x|y\n", "vertical bars"),
        ('"study_id";"x";"y"\n', "semicolons"),
        ("\n  \nstudy_id;x;y\n", "semicolons"),
        # A name that holds a semicolon, and a table of quite other columns.
        ("study_id,x;mm,y\n", None),
        ("a;b;c\n", None),
        ("", None),
    ],
)
def test_the_separator_is_told_from_the_header(text: str, found: str | None) -> None:
    stream = io.StringIO(text)
    assert other_separator(stream, WANTED) == found
    assert stream.read() == text


def test_a_table_of_one_wanted_column_is_told_too() -> None:
    assert other_separator(io.StringIO("row_id;normal_mild\n"), ("row_id",)) == "semicolons"
    assert other_separator(io.StringIO("row_id,normal_mild\n"), ("row_id",)) is None
