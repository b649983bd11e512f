"""The verdict from headers is what conversion makes of a series, and reads hardly any bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_helpers import AXIAL, SAGITTAL, voxels, write_slice, write_stack
from pydicom.uid import RLELossless
from spinegrade.cohort.left_out import ACTIONS
from spinegrade.convert import header, survey
from spinegrade.convert.refusals import REFUSALS
from spinegrade.convert.series import convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.shard import convert_shard
from spinegrade.convert.source import SeriesSource
from spinegrade.convert.survey import UNEXPECTED, survey_cohort, survey_series
from spinegrade.report import check_page
from spinegrade.report.check_page import CheckedCohort, headline, write_page
from spinegrade.tables import empty_table, read_table, write_table

SETTINGS = ConvertSettings()


def stack(folder: Path, slices: int = 8, size: int = 16, **changes: object) -> None:
    write_stack(folder, voxels(slices, size, size), AXIAL, **changes)


def missing_slice(folder: Path) -> None:
    stack(folder, 12, shuffle=None)
    (folder / "6.dcm").unlink()


def copy(folder: Path) -> None:
    stack(folder)
    shutil.copy(folder / "3.dcm", folder / "30.dcm")


def second_image(folder: Path) -> None:
    stack(folder, shuffle=None)
    write_slice(folder / "30.dcm", voxels(1, 16, 16, 5)[0], AXIAL, np.array([0, 0, 8.0]), 30)


def two_echoes(folder: Path) -> None:
    stack(folder, EchoTime="10")
    write_stack(folder, voxels(8, 16, 16, 1), AXIAL, start=9, EchoTime="90")


def two_sizes(folder: Path) -> None:
    stack(folder)
    write_stack(folder, voxels(5, 24, 20), AXIAL, (0, 0, 100), start=9)


def truncated(folder: Path) -> None:
    stack(folder, shuffle=None)
    file = folder / "8.dcm"
    file.write_bytes(file.read_bytes()[:-40])


def cut_in_the_header(folder: Path) -> None:
    stack(folder, shuffle=None)
    file = folder / "8.dcm"
    file.write_bytes(file.read_bytes()[:500])


def no_pixels(folder: Path) -> None:
    stack(folder)
    position = np.array([0, 0, 99.0])
    write_slice(folder / "9.dcm", voxels(1, 16, 16)[0], AXIAL, position, 9, PixelData=None)


def not_dicom(folder: Path) -> None:
    stack(folder)
    (folder / "9.dcm").write_bytes(b"a note")
    (folder / "10.dcm").write_bytes(b"")


def colour(folder: Path) -> None:
    stack(folder, PhotometricInterpretation="RGB", SamplesPerPixel=3)


def huge(folder: Path) -> None:
    stack(folder)
    position = np.array([0, 0, 99.0])
    sizes = {"Rows": 60000, "Columns": 60000}
    write_slice(folder / "9.dcm", voxels(1, 16, 16)[0], AXIAL, position, 9, **sizes)


def wrong_plane(folder: Path) -> None:
    write_stack(folder, voxels(8, 16, 16), SAGITTAL)


def scout(folder: Path) -> None:
    stack(folder)
    write_stack(folder, voxels(2, 16, 16), SAGITTAL, start=20)


SERIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "good": (stack, "good"),
    "compressed": (lambda folder: stack(folder, syntax=RLELossless), "good"),
    "missing slice": (missing_slice, "partial"),
    "copy": (copy, "partial"),
    "second image": (second_image, "partial"),
    "two echoes": (two_echoes, "good"),
    "two sizes": (two_sizes, "good"),
    "truncated": (truncated, "partial"),
    "cut in the header": (cut_in_the_header, "partial"),
    "no pixels": (no_pixels, "partial"),
    "not DICOM": (not_dicom, "partial"),
    "empty folder": (lambda folder: folder.mkdir(), "refused"),
    "no folder": (lambda folder: None, "refused"),
    "two slices": (lambda folder: stack(folder, 2), "refused"),
    "colour": (colour, "refused"),
    "huge claim": (huge, "partial"),
    "wrong plane": (wrong_plane, "refused"),
    "scout": (scout, "partial"),
}


def source_in(tmp_path: Path, make: Callable[[Path], None]) -> SeriesSource:
    make(tmp_path / "in")
    return SeriesSource("1", "2", "train", "axial", "t2", tmp_path / "in")


@pytest.mark.parametrize(("make", "verdict"), SERIES.values(), ids=SERIES.keys())
def test_the_verdict_is_what_conversion_makes(
    tmp_path: Path, make: Callable[[Path], None], verdict: str
) -> None:
    source = source_in(tmp_path, make)
    converted = convert_series(source, tmp_path / "out", SETTINGS)
    surveyed = survey_series(source, SETTINGS)
    assert surveyed.rejected == converted.rejected
    row = surveyed.verdict
    assert row["verdict"] == verdict
    assert row["codes"] == ",".join(sorted({one["code"] for one in converted.rejected}))
    assert row["volumes"] == len(converted.stacks)
    assert row["slices"] == len(converted.slices)
    names = ("rows", "cols", "row_spacing_mm", "col_spacing_mm", "slice_spacing_mm")
    largest = max(converted.stacks, key=lambda one: one["slices"], default={})
    assert [row[name] for name in names] == [largest.get(name) for name in names]
    folder = tmp_path / "in"
    assert row["files"] == (len(list(folder.iterdir())) if folder.is_dir() else 0)


def test_a_cut_compressed_file_is_found(tmp_path: Path) -> None:
    source = source_in(tmp_path, lambda folder: stack(folder, syntax=RLELossless, shuffle=None))
    file = source.folder / "8.dcm"
    file.write_bytes(file.read_bytes()[:-40])
    assert convert_series(source, tmp_path / "out", SETTINGS).rejected[0]["code"] == "TRUNCATED"
    assert survey_series(source, SETTINGS).verdict["codes"] == "TRUNCATED"


def count_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of bytes of every read from here on."""
    read, counts = header._read, []

    def counted(path: Path, size: int) -> bytes:
        data = read(path, size)
        counts.append(len(data))
        return data

    monkeypatch.setattr(header, "_read", counted)
    return counts


def test_only_the_start_of_each_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_in(tmp_path, lambda folder: stack(folder, 5, 512))
    counts = count_bytes(monkeypatch)
    assert survey_series(source, SETTINGS).verdict["verdict"] == "good"
    assert len(counts) == 5
    assert max(counts) <= 16 * 1024 < 512 * 512 * 2


def test_pixels_are_read_only_to_tell_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_a_copy(folder: Path) -> None:
        stack(folder, 5, 512)
        shutil.copy(folder / "3.dcm", folder / "30.dcm")

    source = source_in(tmp_path, with_a_copy)
    counts = count_bytes(monkeypatch)
    assert survey_series(source, SETTINGS).verdict["codes"] == "DUPLICATE_SLICE"
    assert len(counts) == 12 and max(counts) > 512 * 512 * 2


def test_a_hole_where_the_pixels_were_changes_nothing(tmp_path: Path) -> None:
    """A file whose pixels were never written (sparse) has the verdict of the whole one."""
    source = source_in(tmp_path, lambda folder: stack(folder, 5, 512))
    before = survey_series(source, SETTINGS)
    for file in source.folder.iterdir():
        data = file.read_bytes()
        with file.open("r+b") as handle:
            handle.truncate(len(data) - 512 * 512 * 2)
            handle.truncate(len(data))
        assert file.read_bytes() != data
    assert survey_series(source, SETTINGS) == before


def series_table(tmp_path: Path, rows: list[dict[str, object]]) -> Path:
    table = pd.DataFrame(
        [
            {
                "split": "train",
                "plane": "axial",
                "weighting": "t2",
                "folder": f"train_images/{row['study']}/{row['series']}",
                "file_count": 8,
                "shard": 0,
                "problem": None,
                **row,
            }
            for row in rows
        ]
    )
    write_table(tmp_path / "series.parquet", table, "series")
    return tmp_path / "series.parquet"


def make_cohort(tmp_path: Path) -> Path:
    """Study 1: a whole and a truncated series; 2: of another study, a problem; 3: strange path."""
    images = tmp_path / "train_images"
    stack(images / "1" / "10")
    truncated(images / "1" / "11")
    stack(images / "2" / "20", StudyInstanceUID="2")
    stack(images / "2" / "21", StudyInstanceUID="999")
    stack(images / "3" / "30")
    rows = [
        {"study": "1", "series": "10"},
        {"study": "1", "series": "11"},
        {"study": "2", "series": "20"},
        {"study": "2", "series": "21"},
        {"study": "2", "series": "22", "problem": "EMPTY_SERIES", "file_count": 0},
        {"study": "3", "series": "30", "folder": "../3/30"},
    ]
    return series_table(tmp_path, rows)


def test_a_cohort_has_the_codes_that_its_conversion_has(tmp_path: Path) -> None:
    table = make_cohort(tmp_path)
    verdicts, rejected = survey_cohort(table, tmp_path, SETTINGS)
    convert_shard(table, 0, tmp_path, tmp_path / "convert", vars(SETTINGS), "code")
    converted = read_table(tmp_path / "convert" / "0" / "rejected.parquet", "rejected")
    assert rejected["code"].tolist() == ["TRUNCATED", "OTHER_STUDY", "UNSAFE_PATH"]
    pd.testing.assert_frame_equal(rejected, converted)
    found = verdicts.set_index("series")
    assert found["verdict"].to_dict() == {
        "10": "good",
        "11": "partial",
        "20": "good",
        "21": "refused",
        "22": "refused",
        "30": "refused",
    }
    assert found.loc["22", "codes"] == "EMPTY_SERIES"
    assert found.loc["21", "files"] == 8


def test_processes_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = make_cohort(tmp_path)
    one = survey_cohort(table, tmp_path, SETTINGS, 1)
    monkeypatch.setattr(survey, "LEAST_FILES_A_PROCESS", 1)
    monkeypatch.setattr(survey, "_BATCH_FILES", 1)
    two = survey_cohort(table, tmp_path, SETTINGS, 2)
    for left, right in zip(one, two, strict=True):
        pd.testing.assert_frame_equal(left, right)


def test_an_error_that_no_rule_foresees_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = make_cohort(tmp_path)
    plan = survey.plan_series

    def fails(frames: list[header.Frame], *rest: object) -> object:
        if len(frames) == 7:  # the truncated series
            raise ZeroDivisionError("by a slice")
        return plan(frames, *rest)

    monkeypatch.setattr(survey, "plan_series", fails)
    verdicts, rejected = survey_cohort(table, tmp_path, SETTINGS)
    assert len(verdicts) == 6
    row = rejected[rejected["code"] == UNEXPECTED].iloc[0]
    assert row["series"] == "11" and "ZeroDivisionError in fails" in row["found"]
    assert "by a slice" in caplog.text


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
    write_table(tmp_path / "studies.parquet", studies, "studies")
    studies = read_table(tmp_path / "studies.parquet", "studies")
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
        empty_table("rejected"),
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
