"""Which entries of a series' folder become slices, and which are named with what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_helpers import AXIAL, voxels, write_stack
from spinegrade.convert.landmarks import locate_landmarks
from spinegrade.convert.series import Converted, convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.shard import convert_shard
from spinegrade.convert.source import SeriesSource
from spinegrade.convert.survey import survey_series
from spinegrade.tables.files import check_table, read_table
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.slices import SLICES
from spinegrade.tables.stacks import STACKS
from spinegrade.volumes import open_volume
from survey_helpers import series_table

SETTINGS = ConvertSettings()
VOLUME = voxels(8, 12, 10)


def convert(tmp_path: Path) -> Converted:
    """Convert ``tmp_path``/in, where the survey of its headers must say the same."""
    source = SeriesSource("1", "2", "train", "axial", "t2", tmp_path / "in")
    converted = convert_series(source, tmp_path / "out", SETTINGS)
    assert survey_series(source, SETTINGS).rejected == converted.rejected
    return converted


def volume_of(tmp_path: Path, converted: Converted) -> np.ndarray:
    (row,) = converted.stacks
    return np.asarray(open_volume(tmp_path / "out" / row["volume"]))


def write(folder: Path, rename: Callable[[int], str]) -> None:
    """The eight slices of VOLUME from feet to head, numbered from 1, under names of ``rename``."""
    write_stack(folder, VOLUME, AXIAL, shuffle=None)
    for number in range(1, 9):
        target = folder / rename(number)
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.dcm").rename(target)


@pytest.mark.parametrize("name", ["IM{:06d}", "{}.IMA", "DICOM/{}.dcm", "DICOM/A0/B1/IM{:04d}"])
def test_slices_are_read_whatever_they_are_called(tmp_path: Path, name: str) -> None:
    write(tmp_path / "in", name.format)
    converted = convert(tmp_path)
    assert converted.rejected == []
    assert np.array_equal(volume_of(tmp_path, converted), VOLUME)
    assert [row["file"] for row in converted.slices] == [name.format(n) for n in range(1, 9)]


def test_a_point_is_found_on_a_slice_one_folder_deeper(tmp_path: Path) -> None:
    write(tmp_path / "in", "DICOM/{}.dcm".format)
    converted = convert(tmp_path)
    stacks, slices = (
        check_table(pd.DataFrame(getattr(converted, kind.name), columns=list(kind.columns)), kind)
        for kind in (STACKS, SLICES)
    )
    point = {
        "study": "1", "series": "2", "instance_number": 3, "condition": "subarticular_stenosis",
        "level": "l1_l2", "side": "left", "x_px": 4.0, "y_px": 6.0,
    }  # fmt: skip
    located, lost = locate_landmarks(pd.DataFrame([point]), stacks, slices)
    assert lost.empty
    # Slices of 4 mm, pixels of 0.5 mm from the origin: slice 3 lies at z = 8 mm.
    assert located[["x_mm", "y_mm", "z_mm"]].iloc[0].tolist() == pytest.approx([2, 3, 8])


def named(converted: Converted) -> list[tuple[str | None, str]]:
    return [(row["file"], row["code"]) for row in converted.rejected]


def test_each_link_to_nothing_has_a_row_with_its_remedy(tmp_path: Path) -> None:
    write_stack(tmp_path / "in", VOLUME, AXIAL, shuffle=None)
    for number in (1, 2):
        (tmp_path / "in" / f"{number}.dcm").unlink()
        (tmp_path / "in" / f"{number}.dcm").symlink_to(f"../annex/objects/{number}")
    converted = convert(tmp_path)
    assert named(converted) == [("1.dcm", "NOT_FETCHED"), ("2.dcm", "NOT_FETCHED")]
    assert converted.rejected[0]["found"] == "a link to nothing"
    assert "fetch the file" in converted.rejected[0]["action"]
    assert np.array_equal(volume_of(tmp_path, converted), VOLUME[2:])
    source = SeriesSource("1", "2", "train", "axial", "t2", tmp_path / "in")
    verdict = survey_series(source, SETTINGS).verdict
    assert (verdict["verdict"], verdict["files"], verdict["slices"]) == ("partial", 8, 6)


def test_a_series_of_links_to_nothing_is_refused_by_the_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(1, 9):
        (tmp_path / "in" / f"{number}.dcm").symlink_to(f"../annex/objects/{number}")
    converted = convert(tmp_path)
    assert named(converted) == [(f"{n}.dcm", "NOT_FETCHED") for n in range(1, 9)]


def test_a_folder_in_a_files_place_has_a_row(tmp_path: Path) -> None:
    write_stack(tmp_path / "in", VOLUME, AXIAL, shuffle=None)
    (tmp_path / "in" / "8.dcm").unlink()
    (tmp_path / "in" / "8.dcm").mkdir()
    converted = convert(tmp_path)
    assert named(converted) == [("8.dcm", "OTHER_FOLDER")]
    assert np.array_equal(volume_of(tmp_path, converted), VOLUME[:7])


def test_images_in_a_folder_beside_the_series_are_left_out_by_name(tmp_path: Path) -> None:
    # Never slices of two sources in one volume: what lies below is another scan.
    write_stack(tmp_path / "in", VOLUME, AXIAL, shuffle=None)
    write_stack(tmp_path / "in" / "old", voxels(3, 12, 10, 9), AXIAL, (0, 0, 32.0), shuffle=None)
    converted = convert(tmp_path)
    assert named(converted) == [("old", "OTHER_FOLDER")]
    assert converted.rejected[0]["found"].startswith("3 slices lie in a folder below")
    assert np.array_equal(volume_of(tmp_path, converted), VOLUME)


def test_images_in_several_folders_are_refused_and_the_folders_named(tmp_path: Path) -> None:
    write_stack(tmp_path / "in" / "A", VOLUME[:4], AXIAL, shuffle=None)
    write_stack(tmp_path / "in" / "B", VOLUME[4:], AXIAL, (0, 0, 16.0), shuffle=None, start=5)
    converted = convert(tmp_path)
    assert converted.stacks == [] and named(converted) == [(None, "OTHER_FOLDER")]
    assert "2 folders below its own: A (4), B (4)" in converted.rejected[0]["found"]


def test_notes_beside_a_folder_of_images_leave_it_whole(tmp_path: Path) -> None:
    write(tmp_path / "in", "DICOM/{}.dcm".format)
    (tmp_path / "in" / "notes.txt").write_text("read me")
    converted = convert(tmp_path)
    assert named(converted) == [("notes.txt", "NOT_AN_IMAGE")]
    assert np.array_equal(volume_of(tmp_path, converted), VOLUME)


@pytest.mark.parametrize("name", ["Thumbs.db", "desktop.ini", "DICOMDIR", ".DS_Store"])
def test_companions_of_file_managers_leave_a_series_good(tmp_path: Path, name: str) -> None:
    write_stack(tmp_path / "in", VOLUME, AXIAL)
    (tmp_path / "in" / name).write_bytes(b"no image")
    source = SeriesSource("1", "2", "train", "axial", "t2", tmp_path / "in")
    verdict = survey_series(source, SETTINGS).verdict
    assert (verdict["verdict"], verdict["files"]) == ("good", 8)


def test_a_name_with_a_line_break_below_a_series_is_refused(tmp_path: Path) -> None:
    write_stack(tmp_path / "in", VOLUME, AXIAL, shuffle=None)
    (tmp_path / "in" / "a\nb").mkdir()
    (tmp_path / "in" / "8.dcm").rename(tmp_path / "in" / "a\nb" / "8.dcm")
    converted = convert(tmp_path)
    assert named(converted) == [("'a\\nb/8.dcm'", "UNSAFE_PATH")]


def test_a_fetched_file_is_converted_in_the_next_run(tmp_path: Path) -> None:
    folder = tmp_path / "train_images" / "1" / "10"
    write(folder, "DICOM/{}.dcm".format)
    kept = tmp_path / "annex"
    (folder / "DICOM" / "8.dcm").rename(kept)
    (folder / "DICOM" / "8.dcm").symlink_to(tmp_path / "gone")
    table = series_table(tmp_path, [{"study": "1", "series": "10"}])
    out = tmp_path / "convert"

    def run() -> tuple[int, list[str]]:
        convert_shard(table, 0, tmp_path, out, {}, "a")
        stacks = read_table(out / "0" / "stacks.parquet", STACKS)
        rejected = read_table(out / "0" / "rejected.parquet", REJECTED)
        return int(stacks["slices"].iloc[0]), rejected["code"].tolist()

    assert run() == (7, ["NOT_FETCHED"])
    kept.rename(tmp_path / "gone")
    assert run() == (8, [])
