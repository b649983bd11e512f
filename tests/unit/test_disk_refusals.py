"""A disk that is full, read-only or another's is told in one sentence, whatever writer met it."""

from __future__ import annotations

import errno
import logging
import resource
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from spinegrade.runtime import files
from spinegrade.runtime.files import CannotWriteError, atomic_path, remove_left_parts
from spinegrade.runtime.stage import run_stage
from spinegrade.training.checkpoint import Checkpoint

NUMBERS = np.random.default_rng(0).random(100_000)
WRITERS: dict[str, Callable[[Path], object]] = {
    "array.npy": lambda path: np.save(path, NUMBERS),
    "table.parquet": lambda path: pd.DataFrame({"a": NUMBERS}).to_parquet(path),
    "table.csv": lambda path: pd.DataFrame({"a": NUMBERS}).to_csv(path),
    "weights.safetensors": lambda path: save_file({"a": torch.from_numpy(NUMBERS)}, path),
    "page.html": lambda path: path.write_text("x" * 800_000),
}


@pytest.fixture
def small_files_only():
    """Files may not grow beyond 64 KiB: the system then fails a write as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_ends_in_one_sentence_and_leaves_what_was_there(
    tmp_path: Path, small_files_only: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    path.write_text("finished before")
    # NumPy gives no reason; where the disk has no room left, that is the reason.
    full = SimpleNamespace(free=0, total=2**30)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: full)
    with pytest.raises(CannotWriteError) as caught, atomic_path(path) as temporary:
        WRITERS[name](temporary)
    words = str(caught.value)
    assert words.startswith(f"{path} cannot be written: ") and "\n" not in words
    assert words.endswith("run the same command again: what is finished stays")
    assert path.read_text() == "finished before" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_costs_no_earlier_checkpoint(tmp_path: Path, small_files_only: None) -> None:
    checkpoint = Checkpoint(tmp_path / "fold_0.pt", {"code": "a"}, 5)
    checkpoint.save({"step": 1})
    with pytest.raises(CannotWriteError, match=r"fold_0\.pt cannot be written: it is larger"):
        checkpoint.save({"step": 2, "weights": torch.from_numpy(NUMBERS)})
    assert checkpoint.load() == {"step": 1}


def test_a_full_disk_says_how_full(tmp_path: Path) -> None:
    with (
        pytest.raises(
            CannotWriteError, match=r"no space is left on its disk \([\d.]+ of [\d.]+ GiB"
        ),
        atomic_path(tmp_path / "a"),
        Path("/dev/full").open("wb", buffering=0) as file,
    ):
        file.write(b"x")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "its disk is read-only; make {} writable and run"),
        (errno.EACCES, "you have no right to; make {} writable and run"),
        (errno.EDQUOT, "your disk quota is used up ("),
    ],
)
def test_a_folder_that_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(number, "no", str(tmp_path / ".part-abc"))

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    with pytest.raises(CannotWriteError) as caught, atomic_path(tmp_path / "table.parquet"):
        pytest.fail("it was opened")
    assert words.format(tmp_path) in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/table.parquet cannot be written")


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a"):
        _ = 1 / 0
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        (tmp_path / "absent").read_text()


def test_what_killed_jobs_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a/.part-1.npy", "a/b/.part-2", "a/rois.npy", "a/part-3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert remove_left_parts(tmp_path) == 2
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["rois.npy"]
    assert (tmp_path / "a" / "part-3").exists()


@pytest.fixture
def job(tmp_path: Path):
    handlers, level = logging.root.handlers[:], logging.root.level
    yield SimpleNamespace(
        rule="crop_rois",
        wildcards={},
        threads=1,
        log=[str(tmp_path / "logs" / "crop_rois.log")],
        params=SimpleNamespace(device="cpu"),
        resources=SimpleNamespace(),
    )
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.raiseExceptions = True


def test_a_stage_on_a_full_disk_ends_in_one_sentence_without_a_traceback(
    job: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(_: object) -> None:
        # As a writer does that is not the project's own.
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")

    with pytest.raises(SystemExit) as ended:
        run_stage(job, main)
    told = Path(job.log[0]).read_text()
    assert ended.value.code == 1
    assert "crop_rois: " in told and "no space is left on its disk" in told
    assert len(told.splitlines()) == 1 and "Traceback" not in told + capsys.readouterr().err


def test_a_stage_whose_log_cannot_be_written_says_so(
    job: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "no", job.log[0])

    monkeypatch.setattr(logging, "FileHandler", refuse)
    with pytest.raises(
        SystemExit, match=r"crop_rois: .*crop_rois\.log cannot be written: its disk"
    ):
        run_stage(job, lambda _: pytest.fail("it ran"))


def test_a_log_that_fills_the_disk_adds_no_traceback_of_its_own(
    job: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(_: object) -> None:
        logging.root.handlers[0].stream = Path("/dev/full").open("w")  # noqa: SIM115
        logging.getLogger("spinegrade").info("this line finds no room")

    run_stage(job, main)
    assert "Logging error" not in capsys.readouterr().err
