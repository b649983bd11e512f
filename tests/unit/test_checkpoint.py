"""A checkpoint gives back what was saved, or says in one sentence why it does not."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from spinegrade.training.checkpoint import (
    Checkpoint,
    random_state,
    restore_random_state,
    training_parts,
)

CPU = torch.device("cpu")


def parts(**changes: object) -> dict:
    given: dict = {
        "code": "c0de",
        "settings": {"name": "t2", "training": {"epochs": 3, "loss": "a"}},
        "data": "da7a",
        "math_threads": 1,
        "device": CPU,
        "precision": "float32",
    }
    return training_parts(**given | changes)


def state() -> dict:
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    network = network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters())
    network(torch.randn(2, 3, 9, 9)).sum().backward()
    optimiser.step()
    return {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "history": [{"epoch": 1, "held_out": None}],
        "random": random_state(CPU),
    }


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.stride() == other.stride()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "fold_0.pt"
    Checkpoint(path, parts(), 5).save(state())
    return path


def test_what_is_saved_comes_back_to_the_last_stride(saved: Path) -> None:
    assert same(Checkpoint(saved, parts(), 5).load(), state())
    Checkpoint(saved, parts(), 5).remove()
    assert Checkpoint(saved, parts(), 5).load() is None
    assert list(saved.parent.iterdir()) == []


def test_all_generators_go_on_where_they_were() -> None:
    def draw() -> list:
        drawn = [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn()]
        return [*drawn, torch.rand(3).tolist(), torch.randn(1).tolist()]

    draw()  # leaves a second normal number waiting in two of them
    kept = random_state(CPU)
    drawn = draw()
    assert draw() != drawn
    restore_random_state(kept, CPU)
    assert draw() == drawn


def damaged(content: bytes) -> dict[str, bytes]:
    draws = random.Random(3)
    header = content.index(b"\n") + 1
    cuts = [0, 1, header - 1, header, len(content) - 1, *draws.sample(range(len(content)), 20)]
    cases = {f"cut after {cut} bytes": content[:cut] for cut in cuts}
    for place in draws.sample(range(len(content)), 200):
        turned = bytearray(content)
        turned[place] ^= 1 << draws.randrange(8)
        cases[f"bit turned at {place}"] = bytes(turned)
    hole = len(content) // 2
    cases["hole"] = content[:hole] + bytes(4096) + content[hole + 4096 :]
    cases["too long"] = content + b"x"
    cases["zeros"] = bytes(len(content))
    cases["another version"] = content.replace(b'"format": 1', b'"format": 2', 1)
    cases["a list"] = b"[1]\n"
    cases["no parts"] = b'{"format": 1}\n'
    return cases


def test_no_damaged_file_is_ever_taken_up(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    for case, content in damaged(saved.read_bytes()).items():
        caplog.clear()
        saved.write_bytes(content)
        assert Checkpoint(saved, parts(), 5).load() is None, case
        words = [record.getMessage() for record in caplog.records]
        assert len(words) == 1 and "\n" not in words[0] and "training starts anew" in words[0], case
        assert str(saved) in words[0]


def test_a_truncated_file_names_its_loss_and_its_remedy(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved.write_bytes(saved.read_bytes()[:-100])
    assert Checkpoint(saved, parts(), 5).load() is None
    assert "cut off or damaged" in caplog.text and "nothing needs to be done" in caplog.text
    assert "only the epochs done so far of this one fold are lost" in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"code": "0ther"}, "with other code: training starts anew"),
        ({"data": "0ther"}, "with other data: training starts anew"),
        ({"math_threads": 4}, "with other math_threads (1, now 4): training"),
        (
            {"precision": "bfloat16"},
            "with other device (cpu, float32, now cpu, bfloat16): training",
        ),
        (
            {"settings": {"name": "t2", "training": {"epochs": 4, "loss": "b"}}, "code": "0ther"},
            "other code, other settings (training.epochs 3, now 4; training.loss 'a', now 'b')",
        ),
        (
            {"settings": {"name": "t2", "a": 1, "b": 2, "c": 3, "d": 4}},
            "with other settings (a None, now 1; b None, now 2; c None, now 3; and 3 more)",
        ),
    ],
)
def test_another_training_is_refused_by_what_differs(
    saved: Path, caplog: pytest.LogCaptureFixture, changes: dict, words: str
) -> None:
    assert Checkpoint(saved, parts(**changes), 5).load() is None
    assert words in caplog.text


def test_another_torch_is_refused_by_its_version(
    saved: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert Checkpoint(saved, parts(), 5).load() is None
    assert "other torch version (" in caplog.text and "now 9.9)" in caplog.text


def test_a_state_of_another_training_is_not_even_unpickled(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    assert Checkpoint(saved, parts(code="0ther"), 5).load() is None


def test_objects_are_never_unpickled(saved: Path) -> None:
    Checkpoint(saved, parts(), 5).save({"path": Path("x")})
    assert Checkpoint(saved, parts(), 5).load() is None


def test_a_save_is_due_by_minutes(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    checkpoint = Checkpoint(saved, parts(), 2)
    saves = []
    monkeypatch.setattr(checkpoint, "save", saves.append)
    for now[0], count in ((1000.0, 0), (1119.0, 0), (1121.0, 1)):
        checkpoint.save_if_due(lambda: {"a": 1})
        assert len(saves) == count
    monkeypatch.undo()
    often = Checkpoint(saved, parts(), 0)
    often.save({"a": 1})
    assert often.is_due()
    assert not Checkpoint(saved, parts(), 5).is_due()


DIES_WHILE_IT_SAVES = """
import os, signal, sys, torch
from spinegrade.training.checkpoint import Checkpoint
checkpoint = Checkpoint(sys.argv[1], {"code": "c0de"}, 5)
checkpoint.save({"step": 1})
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save({"step": 2, "more": torch.zeros(100_000)})
"""


def test_a_kill_while_it_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "fold_0.pt"
    scripts = Path(__file__).resolve().parents[2] / "scripts"
    done = subprocess.run(
        [sys.executable, "-c", DIES_WHILE_IT_SAVES, str(path)],
        env={"PYTHONPATH": str(scripts), "PATH": ""},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert Checkpoint(path, {"code": "c0de"}, 5).load() == {"step": 1}


def test_its_first_line_says_what_it_belongs_to(saved: Path) -> None:
    with saved.open("rb") as file:
        assert json.loads(file.readline())["parts"]["settings"]["name"] == "t2"
