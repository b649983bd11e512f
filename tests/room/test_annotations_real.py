"""What the check finds in the real annotations, by the functions that check_cohort uses."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest
from spinegrade.annotations.counts import count_numbers
from spinegrade.annotations.judge import judge
from spinegrade.annotations.points import points_of_tables
from spinegrade.kaggle_rsna2024 import KAGGLE_SERIES, kaggle_condition, kaggle_level
from spinegrade.regions.lumbar_mri import FORAMINAL, SPINAL, SUBARTICULAR

pytestmark = pytest.mark.real_data
IDS = {"study_id": str, "series_id": str}


@pytest.fixture(scope="module")
def points(real_data: Path) -> pd.DataFrame:
    folder = real_data / "rsna2024"
    rows = pd.read_csv(folder / "train_label_coordinates_with_size.csv.gz", dtype=IDS)
    cells = [kaggle_condition(text) for text in rows["condition"]]
    landmarks = pd.DataFrame(
        {
            "study": rows["study_id"],
            "series": rows["series_id"],
            "instance_number": rows["instance_number"],
            "condition": [condition for condition, _ in cells],
            "level": [kaggle_level(text) for text in rows["level"]],
            "side": [side for _, side in cells],
            "x_px": rows["x"],
            "y_px": rows["y"],
        }
    )
    described = pd.read_csv(folder / "train_series_descriptions.csv.gz", dtype=IDS)
    kinds = [KAGGLE_SERIES[text] for text in described["series_description"]]
    series = pd.DataFrame(
        {
            "study": described["study_id"],
            "series": described["series_id"],
            "plane": [plane for plane, _ in kinds],
            "weighting": [weighting for _, weighting in kinds],
        }
    )
    sizes = rows[["height", "width"]].set_axis(["rows", "cols"], axis=1)
    return points_of_tables(landmarks, series, sizes)


def test_how_the_numbers_run(points: pd.DataFrame) -> None:
    assert count_numbers(points)._asdict() == {
        "points": 48692,
        "recess_pairs": 8770,
        "recess_pairs_on_two_slices": 3311,
        "most_slices_apart": 10,
        "canal_series": 1974,
        "axial_series": 2168,
        "axial_growing": 1856,
        "axial_falling": 260,
        "axial_neither": 9,
        "t1_series": 1965,
        "t1_left_greater": 1258,
        "t1_left_smaller": 698,
        "t1_mixed": 1,
        "t1_one_slice": 9,
    }


def test_what_contradicts(points: pd.DataFrame) -> None:
    began = time.perf_counter()
    found = judge(points)
    assert time.perf_counter() - began < 30  # two seconds on an idle core
    found = found.join(points[["study", "series", "condition", "level", "side"]], on="row")
    series = found.groupby(["code", "condition"])["series"].nunique().to_dict()
    # The neither of the right recesses has one series beside the nine of the left ones.
    assert series == {
        ("LANDMARK_LEVELS_OUT_OF_ORDER", SPINAL): 12,
        ("LANDMARK_NUMBERS_OUT_OF_ORDER", SUBARTICULAR): 10,
        ("LANDMARK_OFF_LINE", SPINAL): 17,
        ("LANDMARK_ONE_SLICE", FORAMINAL): 9,
        ("LANDMARK_OTHER_KIND", SPINAL): 1,
        ("LANDMARK_SIDES_EXCHANGED", FORAMINAL): 1,
        ("LANDMARK_SIDES_EXCHANGED", SUBARTICULAR): 1,
    }
    rows = found["code"].value_counts()
    assert rows["LANDMARK_OTHER_KIND"] == 5
    # One recess pair and one pair of foramina, both points of each.
    assert rows["LANDMARK_SIDES_EXCHANGED"] == 4
    left = found[(found["code"] == "LANDMARK_NUMBERS_OUT_OF_ORDER") & (found["side"] == "left")]
    assert left["series"].nunique() == 9


def test_the_one_mixed_series_is_one_of_the_nine(points: pd.DataFrame) -> None:
    found = judge(points).join(points[["series", "condition"]], on="row")
    found = found[found["condition"] == FORAMINAL]
    by_code = found.groupby("code")["series"].agg(set)
    assert by_code["LANDMARK_SIDES_EXCHANGED"] < by_code["LANDMARK_ONE_SLICE"]
