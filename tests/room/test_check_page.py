"""The page of a checked cohort counts rightly, hides nothing and takes names as text."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from spinegrade.cohort.left_out import ACTIONS
from spinegrade.convert.refusals import REFUSALS
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.survey import survey_cohort
from spinegrade.report import check_page
from spinegrade.report.check_page import CheckedCohort, headline, write_page
from spinegrade.tables.files import empty_table, read_table, write_table
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.studies import STUDIES
from survey_helpers import make_cohort, missing_slice, series_table, sheared_stack

SETTINGS = ConvertSettings()


def checked(tmp_path: Path) -> CheckedCohort:
    verdicts, rejected = survey_cohort(make_cohort(tmp_path), tmp_path, SETTINGS)
    studies = pd.DataFrame(
        [
            {
                "study": study,
                "split": "train",
                "region": "lumbar",
                "shard": 0,
                "series_count": 1,
                "problem": None,
            }
            for study in "1234"
        ]
    )
    write_table(tmp_path / "studies.parquet", studies, STUDIES)
    studies = read_table(tmp_path / "studies.parquet", STUDIES)
    return CheckedCohort(verdicts, rejected, studies, {**ACTIONS, **REFUSALS}, vars(SETTINGS))


def page_of(tmp_path: Path, cohort: CheckedCohort, name: str = "mine") -> str:
    write_page(str(tmp_path / "page.html"), cohort, name)
    return (tmp_path / "page.html").read_text()


def test_the_page_counts_studies_and_says_what_to_do(tmp_path: Path) -> None:
    cohort = checked(tmp_path)
    # Study 4 has no series at all.
    assert headline(cohort) == "0 of 4 studies can be used whole; 2 in part, 2 not at all."
    html = page_of(tmp_path, cohort)
    assert headline(cohort) in html
    for code in ("TRUNCATED", "OTHER_STUDY", "UNSAFE_PATH"):
        assert REFUSALS[code].replace("'", "&#39;") in html
    assert "8.dcm" in html
    assert html.count("data:image/svg+xml") == 2
    assert 'src="http' not in html and 'href="http' not in html


def test_a_row_of_the_cohort_itself_keeps_a_study_from_being_whole(tmp_path: Path) -> None:
    cohort = checked(tmp_path)
    whole = CheckedCohort(
        cohort.verdicts[cohort.verdicts["series"] == "10"],
        empty_table(REJECTED),
        cohort.studies[:1],
        {},
        {},
    )
    assert headline(whole) == "1 of 1 studies can be used whole."
    assert "Nothing is left out" in page_of(tmp_path, whole)
    row = {"study": "1", "series": "77", "file": None, "code": "SERIES_NOT_IN_CSV"}
    left_out = pd.DataFrame([{**row, "found": "8 files", "action": "add a row"}])
    partly = CheckedCohort(whole.verdicts, left_out, whole.studies, {}, {})
    assert headline(partly).startswith("0 of 1 studies")


def test_a_study_that_is_only_cut_is_told_apart(tmp_path: Path) -> None:
    missing_slice(tmp_path / "train_images" / "1" / "10")
    missing_slice(tmp_path / "train_images" / "2" / "20")
    (tmp_path / "train_images" / "2" / "20" / "7.dcm").write_bytes(b"a note")
    table = series_table(tmp_path, [{"study": s, "series": f"{s}0"} for s in "12"])
    verdicts, rejected = survey_cohort(table, tmp_path, SETTINGS)
    studies = pd.DataFrame({"study": ["1", "2"]})
    cohort = CheckedCohort(verdicts, rejected, studies, {}, {})
    words = (
        "0 of 2 studies can be used whole; 2 in part (1 of them only cut at gaps, no slice lost)"
    )
    assert headline(cohort) == f"{words}, 0 not at all."


def test_a_note_is_listed_and_costs_nothing(tmp_path: Path) -> None:
    rows = {"1": 8, "2": 12}
    for study, slices in rows.items():
        sheared_stack(tmp_path / "train_images" / study / "10", slices)
    (tmp_path / "train_images" / "2" / "10" / "6.dcm").unlink()
    table = series_table(tmp_path, [{"study": study, "series": "10"} for study in rows])
    verdicts, rejected = survey_cohort(table, tmp_path, SETTINGS)
    assert list(verdicts["verdict"]) == ["good", "partial"]
    assert list(verdicts["codes"]) == ["SHEARED", "GAP,SHEARED"]
    studies = pd.DataFrame({"study": list(rows)})
    cohort = CheckedCohort(verdicts, rejected, studies, REFUSALS, {})
    words = (
        "1 of 2 studies can be used whole; 1 in part (1 of them only cut at gaps, no slice lost)"
    )
    assert headline(cohort) == f"{words}, 0 not at all."
    assert "off right angles" in page_of(tmp_path, cohort)


def test_a_hostile_file_name_is_text_on_the_page(tmp_path: Path) -> None:
    cohort = checked(tmp_path)
    name = "<img src=x onerror=alert(1)>"
    rejected = cohort.rejected.assign(file=name, found=f"{name} found", study=name)
    hostile = CheckedCohort(cohort.verdicts, rejected, cohort.studies, {}, {name: 1})
    html = page_of(tmp_path, hostile, name)
    assert "<img src=x" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") >= 6


def test_long_lists_are_cut_and_no_code_hides_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_page, "MOST_ROWS", 4)
    cohort = checked(tmp_path)
    many = pd.concat([cohort.verdicts[:1].assign(series=str(n)) for n in range(30)])
    many = many.assign(verdict="partial", codes="COLOUR")
    rows = [cohort.rejected[:1].assign(series=str(n), code="COLOUR") for n in range(30)]
    rejected = pd.concat([*rows, cohort.rejected], ignore_index=True)
    html = page_of(tmp_path, CheckedCohort(many, rejected, cohort.studies, {}, {}))
    assert "4 of 30 shown; the other 26 are in verdicts.parquet" in html
    assert "4 of 33 shown; the other 29 are in rejected.parquet" in html
    listed = html[html.index("What was found where") :]
    for code in ("TRUNCATED", "OTHER_STUDY", "UNSAFE_PATH", "COLOUR"):
        assert code in listed


def test_a_cohort_of_which_nothing_is_usable_has_a_page(tmp_path: Path) -> None:
    cohort = checked(tmp_path)
    verdicts = cohort.verdicts[cohort.verdicts["verdict"] == "refused"]
    html = page_of(tmp_path, CheckedCohort(verdicts, cohort.rejected, cohort.studies, {}, {}))
    assert "No series can be used" in html and "data:image" not in html
