"""Links and odd entries on disk: what is linked is read, nothing is written or removed there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from path_helpers import SERIES, STUDY, came, deliver, run, tree
from spinegrade.cohort.delivered import Delivered
from spinegrade.runtime.files import write_text
from spinegrade.tables.files import read_table
from spinegrade.tables.stacks import STACKS


def link(path: Path, target: Path) -> None:
    """Replace what lies at ``path`` by a link; ``target`` gets it, if it is not there."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    path.symlink_to(target)


@pytest.mark.parametrize(
    "place", ["train_images", f"train_images/{STUDY}", f"train_images/{STUDY}/201",
              f"train_images/{STUDY}/201/1.dcm", "train.csv"]
)  # fmt: skip
def test_linked_data_are_read_and_nothing_is_written_there(tmp_path: Path, place: str) -> None:
    # Data on another disk, linked into the cohort, are a user's right: links are followed.
    link(deliver(tmp_path / "data") / place, tmp_path / "elsewhere" / "moved")
    before = tree(tmp_path)
    assert run(tmp_path).empty
    assert came(before, tree(tmp_path)) == {"results"}
    stacks = read_table(tmp_path / "results/convert/0/stacks.parquet", STACKS)
    assert len(stacks) == 6


def loop(folder: Path) -> None:
    (folder / "loop.dcm").symlink_to(folder / "loop.dcm")


def broken(folder: Path) -> None:
    (folder / "broken.dcm").symlink_to(folder / "gone")


def endless(folder: Path) -> None:
    (folder / "endless.dcm").symlink_to("/dev/zero")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe.dcm")


def text(folder: Path) -> None:
    (folder / "text.dcm").symlink_to("/etc/passwd")


# What each is called by: none is dropped without a word, none is opened that has no end.
CODES = {
    loop: "UNREADABLE",
    broken: "NOT_FETCHED",
    endless: "NOT_AN_IMAGE",
    pipe: "NOT_AN_IMAGE",
    text: "NOT_AN_IMAGE",
}


@pytest.mark.parametrize("make", CODES)
def test_odd_entries_of_a_series_are_left_out(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(deliver(tmp_path / "data") / "train_images" / STUDY / SERIES[2])
    before = tree(tmp_path)
    rejected = run(tmp_path)
    assert came(before, tree(tmp_path)) == {"results"}
    assert rejected["code"].tolist() == [CODES[make]]
    stacks = read_table(tmp_path / "results/convert/0/stacks.parquet", STACKS)
    assert len(stacks) == 6


@pytest.mark.parametrize("make", [loop, broken, endless, pipe, text])
def test_odd_entries_of_a_series_do_not_stop_the_job_graph(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    root = deliver(tmp_path / "data")
    before = Delivered(str(root), 1, 2, 0).files
    make(root / "train_images" / STUDY / SERIES[2])
    after = Delivered(str(root), 1, 2, 0).files
    assert before.keys() == after.keys()


def test_a_linked_output_file_is_replaced_and_its_target_left(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("mine")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "score.json").symlink_to(own)
    write_text(tmp_path / "results" / "score.json", "new")
    assert own.read_text() == "mine"
    assert not (tmp_path / "results" / "score.json").is_symlink()


def test_linked_volumes_and_tables_are_replaced_and_their_targets_left(tmp_path: Path) -> None:
    deliver(tmp_path / "data")
    volumes = tmp_path / "results/convert/volumes" / STUDY
    for path in (volumes / "201_0.nii", tmp_path / "results/convert/0/stacks.parquet"):
        path.parent.mkdir(parents=True)
        own = tmp_path / "own" / path.name
        own.parent.mkdir(exist_ok=True)
        own.write_text("mine")
        path.symlink_to(own)
    run(tmp_path)
    assert {path.read_text() for path in (tmp_path / "own").iterdir()} == {"mine"}
    assert not (volumes / "201_0.nii").is_symlink()


def test_nothing_is_removed_behind_a_linked_folder(tmp_path: Path) -> None:
    # A user may keep the volumes on another disk; what else lies there is not ours to remove.
    deliver(tmp_path / "data")
    own = tmp_path / "own"
    own.mkdir()
    (own / "brain.nii").write_text("mine")
    (tmp_path / "results/convert/volumes").mkdir(parents=True)
    (tmp_path / "results/convert/volumes" / STUDY).symlink_to(own)
    run(tmp_path)
    assert (own / "brain.nii").read_text() == "mine"
