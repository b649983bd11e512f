"""The slice of a point: header number and file name together, or a refusal in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from spinegrade.convert.landmarks import locate_landmarks, place_points
from spinegrade.geometry.affine import affine_to_columns
from spinegrade.tables.files import empty_table
from spinegrade.tables.landmarks import LANDMARKS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.slices import SLICES
from spinegrade.tables.stacks import STACKS

Slice = tuple[str, int, int, int]  # file, header number, stack, index

# Twelve axial slices in two blocks, 90 mm apart; the second block's numbers begin at 1 again.
RESTARTING: list[Slice] = [
    (f"{6 * block + place + 1}.dcm", place + 1, 1 - block, place)
    for block in range(2)
    for place in range(6)
]


def stacks(*heights: float) -> pd.DataFrame:
    """Axial stacks of 4 mm steps and 1 mm pixels, whose index 0 lies at these heights."""
    rows = []
    for number, height in enumerate(heights):
        affine = np.diag([1.0, 1.0, 4.0, 1.0])
        affine[:3, 3] = -12, -12, height
        key = {"study": "1", "series": "13", "stack": number, "plane": "axial", "weighting": "t2"}
        rows.append({**key, "rows": 24, "cols": 24, **affine_to_columns(affine)})
    return pd.DataFrame(rows)


def slices(rows: Sequence[Slice]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["file", "instance_number", "stack", "index"])
    return table.assign(study="1", series="13")


def rejected(*files: str) -> pd.DataFrame:
    row = {"study": "1", "series": "13", "code": "TRUNCATED", "found": "", "action": ""}
    return pd.DataFrame([{**row, "file": file} for file in files])


def points(*numbers: int) -> pd.DataFrame:
    """A point at (5, 6) px for each number, of cells of their own."""
    return pd.DataFrame(
        [
            {
                "study": "1",
                "series": "13",
                "instance_number": number,
                "condition": "subarticular_stenosis",
                "level": f"l{place + 1}_l{place + 2}".replace("l5_l6", "l5_s1"),
                "side": "left",
                "x_px": 5.0,
                "y_px": 6.0,
            }
            for place, number in enumerate(numbers)
        ]
    )


def height(
    number: int,
    table: pd.DataFrame,
    heights: Sequence[float],
    copies: pd.DataFrame | None = None,
    lost: pd.DataFrame | None = None,
) -> float | str:
    """z of the point with this instance number in mm, or why it has none."""
    placed = place_points(points(number), stacks(*heights), table, copies, lost).iloc[0]
    if pd.isna(placed["z_mm"]):
        return f"{placed['code']}: {placed['found']}"
    assert placed["code"] is None and (placed["x_mm"], placed["y_mm"]) == (-7.0, -6.0)
    return float(placed["z_mm"])


def test_numbers_that_restart_go_by_the_file_name() -> None:
    table = slices(RESTARTING)
    # By hand: 3.dcm is the third slice of the upper block, 9.dcm that of the lower one.
    assert height(3, table, (-60.0, 30.0)) == 38.0
    assert height(9, table, (-60.0, 30.0)) == -52.0
    assert height(13, table, (-60.0, 30.0)) == (
        "LANDMARK_WITHOUT_SLICE: no slice of that number was converted"
    )


def test_points_do_not_disturb_each_other() -> None:
    table = slices([row for row in RESTARTING if row[0] != "5.dcm"])
    marks = points(13, 3, 9, 5, 11)
    placed = place_points(marks, stacks(-60.0, 30.0), table, rejected=rejected("5.dcm"))
    # 11.dcm is the only slice left whose header says 5: neither of its numbers is shared.
    assert placed["z_mm"].fillna(0).tolist() == [0, 38.0, -52.0, 0, 0]
    ambiguous = "LANDMARK_AMBIGUOUS"
    codes = [code for code in placed["code"] if code]
    assert codes == ["LANDMARK_WITHOUT_SLICE", ambiguous, ambiguous]


def test_numbers_that_restart_under_names_without_numbers_are_ambiguous() -> None:
    table = slices([(f"IM_{file}", *rest) for file, *rest in RESTARTING])
    assert height(3, table, (-60.0, 30.0)) == (
        "LANDMARK_AMBIGUOUS: 2 slices have that number (IM_9.dcm, IM_3.dcm), up to 90.0 mm apart, "
        "and no file name singles one out"
    )


def test_the_file_that_would_decide_was_left_out() -> None:
    table = slices([row for row in RESTARTING if row[0] != "3.dcm"])
    # 9.dcm alone bears the number 3 now, but the point does not mean it.
    assert height(3, table, (-60.0, 30.0), lost=rejected("3.dcm")) == (
        "LANDMARK_AMBIGUOUS: 9.dcm has that number, but 3.dcm, which is named so, was left out"
    )
    assert height(12, table, (-60.0, 30.0), lost=rejected("12.dcm")) == -40.0
    table = table[table["file"] != "12.dcm"]
    assert height(12, table, (-60.0, 30.0), lost=rejected("12.dcm")) == (
        "LANDMARK_WITHOUT_SLICE: no slice of that number was converted; 12.dcm was left out"
    )


def test_a_name_that_contradicts_the_header_is_ambiguous() -> None:
    # Names count from 0, headers from 1.
    table = slices([(f"{n}.dcm", n + 1, 0, n) for n in range(6)])
    assert height(3, table, (0.0,)) == (
        "LANDMARK_AMBIGUOUS: 2.dcm has that number, but another file, 3.dcm, is named so"
    )
    assert height(0, table, (0.0,)) == (
        "LANDMARK_AMBIGUOUS: no header has that number, and 0.dcm, named so, has 1"
    )
    # No file is named 6: the header's number is alone, and counts as it always did.
    assert height(6, table, (0.0,)) == 20.0


@pytest.mark.parametrize("name", ["{}.dcm", "{:04d}.dcm", "{}", "{}.IMA", "below/{}.dcm"])
def test_names_that_are_numbers(name: str) -> None:
    table = slices([(name.format(n), 1, 0, n) for n in range(1, 6)])
    # An anonymiser wrote the number 1 into every header.
    assert [height(n, table, (0.0,)) for n in (1, 2, 5)] == [4.0, 8.0, 20.0]


@pytest.mark.parametrize("name", ["im{}.dcm", "1.2.{}.dcm", "{}.1", "{}_a.dcm", "12345678{:02d}"])
def test_names_that_are_no_numbers(name: str) -> None:
    table = slices([(name.format(n), n + 10, 0, n) for n in range(1, 6)])
    assert height(12, table, (0.0,)) == 8.0
    assert str(height(2, table, (0.0,))).startswith("LANDMARK_WITHOUT_SLICE")


def test_frames_of_one_file_go_by_their_number_alone() -> None:
    # The file's name says nothing of any of its frames.
    table = slices([("4.dcm", n + 1, 0, n) for n in range(6)])
    assert height(3, table, (0.0,)) == 8.0
    assert height(4, table, (0.0,)) == 12.0


def test_a_concatenation_repeats_its_numbers() -> None:
    table = slices([(f"{f + 1}.dcm", n + 1, f, n) for f in range(2) for n in range(5)])
    # Number 2 in both files: that one of them is named 2 says nothing of its second frame.
    assert height(2, table, (0.0, 20.0)) == (
        "LANDMARK_AMBIGUOUS: 2 slices have that number (1.dcm, 2.dcm), up to 20.0 mm apart, "
        "and no file name singles one out"
    )


def test_tiles_of_a_mosaic_share_the_number_of_their_file() -> None:
    table = slices([("7.dcm", 7, 0, n) for n in range(5)])
    assert "5 slices have that number (7.dcm), up to 16.0 mm apart" in str(height(7, table, (0.0,)))


def test_volumes_at_the_same_places_are_one_place() -> None:
    echoes = [(f"e{e}_{n}.dcm", n, e, n) for e in range(3) for n in range(4)]
    table = slices(echoes)
    assert height(2, table, (0.0, 0.0, 0.05)) == 8.0
    placed = place_points(points(2), stacks(0.0, 0.0, 0.05), table)
    assert placed["stack"].tolist() == [0]
    assert str(height(2, table, (0.0, 0.0, 0.2))).startswith("LANDMARK_AMBIGUOUS: 3 slices")


def test_a_file_name_tells_echoes_apart() -> None:
    table = slices([("5.dcm", 5, 0, 2), ("25.dcm", 5, 1, 2)])
    placed = place_points(points(5), stacks(0.0, 0.0), table)
    assert placed["stack"].tolist() == [0]
    placed = place_points(points(25), stacks(0.0, 0.0), table)
    assert placed["stack"].tolist() == [1]


def test_a_point_on_a_copy_belongs_on_the_slice_that_was_kept() -> None:
    table = slices([(f"{n}.dcm", n, 0, n) for n in range(1, 6)])
    copies = slices([("30.dcm", 30, 0, 3), ("x.dcm", 40, 0, 4)])
    lost = rejected("30.dcm", "x.dcm")
    assert height(30, table, (0.0,), copies, lost) == 12.0
    assert height(40, table, (0.0,), copies, lost) == 16.0
    assert height(3, table, (0.0,), copies, lost) == 12.0
    # The copy bears the name of one number and the header of another, both of one place.
    copies = slices([("31.dcm", 3, 0, 3)])
    assert height(31, table, (0.0,), copies) == 12.0


def test_the_same_number_in_another_series_is_no_candidate() -> None:
    table = pd.concat([slices([("3.dcm", 3, 0, 2)]), slices([("3.dcm", 3, 0, 4)])])
    table["series"] = ["13", "14"]
    both = pd.concat([stacks(0.0), stacks(0.0).assign(series="14")])
    assert place_points(points(3), both, table)["z_mm"].tolist() == [8.0]


def locate(leave_out: str | list[str]) -> tuple[list[str], list[str]]:
    """(levels located, codes left out) of six points.

    Two of them are of one cell, two have exchanged levels, one has no slice.
    """
    table = slices([(f"{n}.dcm", n, 0, 30 - n) for n in range(1, 31)])
    marks = points(2, 10, 28, 18, 99)
    marks = pd.concat([marks, marks[:1].assign(x_px=9.0)], ignore_index=True)
    located, gone = locate_landmarks(marks, stacks(0.0), table, leave_out=leave_out)
    assert list(located) == list(LOCATED_LANDMARKS.columns)
    assert list(gone) == list(REJECTED.columns)
    return located["level"].tolist(), gone["code"].tolist()


def test_what_is_left_out_follows_the_configuration() -> None:
    without, twice = "LANDMARK_WITHOUT_SLICE", "LANDMARK_TWICE"
    order = "LANDMARK_LEVELS_OUT_OF_ORDER"
    assert locate("impossible") == (["l2_l3", "l3_l4", "l4_l5"], [twice, without, twice])
    # What stays doubtful is there once: the first row counts.
    assert locate("none") == (["l1_l2", "l2_l3", "l3_l4", "l4_l5"], [without])
    assert locate("all") == (["l2_l3"], [twice, order, order, without, twice])
    assert locate([order]) == (["l1_l2", "l2_l3"], [order, order, without])


def test_without_points_or_slices_the_tables_are_empty() -> None:
    located, gone = locate_landmarks(
        empty_table(LANDMARKS), empty_table(STACKS), empty_table(SLICES)
    )
    assert located.empty and gone.empty
    located, gone = locate_landmarks(points(1), empty_table(STACKS), empty_table(SLICES))
    assert located.empty and gone["code"].tolist() == ["LANDMARK_WITHOUT_SLICE"]
    assert gone["found"].tolist() == [
        "subarticular_stenosis l1_l2 left, instance 1: no slice of that number was converted"
    ]
    assert gone["action"].tolist() == [
        "landmark left out; check series and instance number of the annotated point"
    ]
