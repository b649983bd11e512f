"""What counts as a file of a series, entry by entry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from spinegrade.convert.refusals import REFUSALS
from spinegrade.series_files import Lost, list_series


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize(
    "name", ["1.dcm", "IM000001", "1.IMA", "DICOM/1.dcm", "A/B/C/1", "7.dcm/1.dcm", "notes.txt"]
)
def test_every_file_counts_whatever_its_name_and_however_deep(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    assert list_series(tmp_path) == ([name], [])


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "._1.dcm", "Thumbs.db", "desktop.ini", "DICOMDIR", "__MACOSX/1.dcm",
     "@eaDir/1.dcm", ".git/config"],
)  # fmt: skip
def test_companions_and_hidden_entries_are_passed_over(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    assert list_series(tmp_path) == ([], [])


def test_links_to_files_are_followed_and_links_to_nothing_named(tmp_path: Path) -> None:
    touch(tmp_path / "kept" / "image")
    series = tmp_path / "series"
    (series / "DICOM").mkdir(parents=True)
    (series / "2.dcm").symlink_to(tmp_path / "kept" / "image")
    (series / "1.dcm").symlink_to("../annex/objects/1")
    (series / "DICOM" / "3.dcm").symlink_to(series / "2.dcm" / "under a file")
    found = list_series(series)
    assert found.files == ["2.dcm"]
    nothing = "a link to nothing"
    assert found.lost == [
        Lost("1.dcm", "NOT_FETCHED", nothing),
        Lost("DICOM/3.dcm", "NOT_FETCHED", nothing),
    ]
    assert found.not_fetched == ["1.dcm", "DICOM/3.dcm"]


def test_what_is_no_file_is_named_with_its_reason(tmp_path: Path) -> None:
    series = tmp_path / "series"
    (series / "5.dcm").mkdir(parents=True)
    (series / "empty").mkdir()
    touch(tmp_path / "other" / "9.dcm")
    (series / "linked").symlink_to(tmp_path / "other")
    (series / "round").symlink_to(series)
    os.mkfifo(series / "pipe")
    (series / "zero.dcm").symlink_to("/dev/zero")
    found = list_series(series)
    assert found.files == []
    assert [(entry.name, entry.code) for entry in found.lost] == [
        ("5.dcm", "OTHER_FOLDER"),
        ("linked", "OTHER_FOLDER"),
        ("pipe", "NOT_AN_IMAGE"),
        ("round", "OTHER_FOLDER"),
        ("zero.dcm", "NOT_AN_IMAGE"),
    ]
    assert all(entry.code in REFUSALS for entry in found.lost)


def test_a_link_to_itself_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    # "Fetch the file" would not help here; opening it says what is wrong.
    (tmp_path / "loop.dcm").symlink_to(tmp_path / "loop.dcm")
    assert list_series(tmp_path).files == ["loop.dcm"]


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root, as whom tests may run, can list any folder.
    (tmp_path / "closed").mkdir()
    touch(tmp_path / "1.dcm")
    listing = os.scandir

    def scandir(folder: str) -> object:
        if folder.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    found = list_series(tmp_path)
    text = "the folder cannot be listed (Permission denied)"
    assert found == (["1.dcm"], [Lost("closed", "UNREADABLE", text)])


def test_a_series_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        list_series(tmp_path / "gone")
