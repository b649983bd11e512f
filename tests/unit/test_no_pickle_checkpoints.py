"""A checkpoint that would run code when it is loaded is passed over, or refused, and never run."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from spinegrade.training.checkpoint import Checkpoint

PARTS = {"code": "abc", "settings": {"epochs": 2}}


class Malice:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path), "w")


def saved(content: object, zipped: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def behind_a_true_header(content: bytes) -> bytes:
    """A checkpoint whose every word is right, but for what it holds."""
    known = {"format": 1, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return json.dumps(known | {"parts": PARTS}).encode() + b"\n" + content


BARE: dict[str, Callable[[Path], bytes]] = {
    "pickle": lambda made: pickle.dumps(Malice(made)),
    "torch": lambda made: saved({"state": Malice(made)}),
    "old torch": lambda made: saved({"state": Malice(made)}, zipped=False),
}


@pytest.mark.parametrize("kind", BARE)
def test_the_files_are_malicious(tmp_path: Path, kind: str) -> None:
    made = tmp_path / "made"
    if kind == "pickle":
        pickle.loads(BARE[kind](made))
    else:
        torch.load(io.BytesIO(BARE[kind](made)), weights_only=False)
    assert made.exists()


@pytest.mark.parametrize("kind", BARE)
def test_a_file_that_is_no_checkpoint_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    made, path = tmp_path / "made", tmp_path / "c.pt"
    path.write_bytes(BARE[kind](made))
    assert Checkpoint(path, PARTS, 1.0).load() is None
    assert not made.exists()
    assert "training starts anew" in caplog.text.replace("\n", " ")


@pytest.mark.parametrize("kind", BARE)
def test_a_forged_checkpoint_is_not_run(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    made, path = tmp_path / "made", tmp_path / "c.pt"
    path.write_bytes(behind_a_true_header(BARE[kind](made)))
    assert Checkpoint(path, PARTS, 1.0).load() is None
    assert not made.exists()
    assert "holds no state of a training" in caplog.text


def test_a_true_checkpoint_has_that_form(tmp_path: Path) -> None:
    # Else the forged ones would be passed over for their header, and prove nothing.
    path = tmp_path / "c.pt"
    path.write_bytes(behind_a_true_header(saved({"epoch": 3})))
    assert Checkpoint(path, PARTS, 1.0).load() == {"epoch": 3}
