"""The verdict from headers is what conversion makes of a series, and reads hardly any bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from pydicom.uid import RLELossless
from spinegrade.convert import header, survey
from spinegrade.convert.series import convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.shard import convert_shard
from spinegrade.convert.source import SeriesSource
from spinegrade.convert.survey import UNEXPECTED, survey_cohort, survey_series
from spinegrade.tables.files import read_table
from spinegrade.tables.rejected import REJECTED
from survey_helpers import (
    colour,
    copy,
    cut_in_the_header,
    huge,
    make_cohort,
    missing_slice,
    no_pixels,
    not_dicom,
    scout,
    second_image,
    stack,
    truncated,
    two_echoes,
    two_sizes,
    wrong_plane,
)

SETTINGS = ConvertSettings()


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


def test_a_cohort_has_the_codes_that_its_conversion_has(tmp_path: Path) -> None:
    table = make_cohort(tmp_path)
    verdicts, rejected = survey_cohort(table, tmp_path, SETTINGS)
    convert_shard(table, 0, tmp_path, tmp_path / "convert", vars(SETTINGS), "code")
    converted = read_table(tmp_path / "convert" / "0" / "rejected.parquet", REJECTED)
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
