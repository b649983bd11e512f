"""What a job leaves on what its outputs were made with: read back, also as it was kept before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from spinegrade.runtime.freshness import Freshness
from spinegrade.runtime.made_note import Note, leave_note, made_by, note_of, read_note
from spinegrade.runtime.run_lock import NAME


def job(log: str, *outputs: str, **params: Any) -> Any:
    return SimpleNamespace(
        log=[log], output=outputs, params=SimpleNamespace(**params, items=params.items)
    )


def test_a_note_names_the_run_the_outputs_and_the_params(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/jdoe")
    log = "results/x/logs/convert/0.log"
    given = {"root": "/home/jdoe/data", "settings": {"a": (1, 2)}, "checkpoint": "results/x/c.pt"}
    outputs = ("results/x/convert/0/a", "results/x/convert/0/b")
    made = job(log, *outputs, fingerprint="f1", **given)
    leave_note(made)
    params = {"root": "~/data", "settings": {"a": [1, 2]}}
    note = Note("f1", None, ("convert/0/a", "convert/0/b"), params)
    kept = read_note(Path("results/x/fingerprints/convert/0.json"))
    assert kept is not None and kept._replace(outputs=tuple(kept.outputs)) == note
    Path("results/x", NAME).write_text(json.dumps({"run": "r7", "pid": 3}))
    leave_note(made)
    assert made_by("results/x") == {"convert/0/a": "r7", "convert/0/b": "r7"}


def test_a_note_of_old_counts_until_the_job_leaves_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = note_of("results/x/logs/a.log")
    assert file == Path("results/x/fingerprints/a.json") and read_note(file) is None
    file.parent.mkdir(parents=True)
    file.with_suffix(".txt").write_text("0123456789abcdef")
    assert read_note(file) == Note("0123456789abcdef", None, (), None)
    leave_note(job("results/x/logs/a.log", "results/x/a", fingerprint="fedc"))
    assert read_note(file).fingerprint == "fedc" and not file.with_suffix(".txt").exists()
    file.write_text("{half")
    assert read_note(file) is None and made_by("results/x") == {}


def test_a_job_is_current_by_the_fingerprint_of_either_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rule = SimpleNamespace(params={"rate": 2}, log=["results/x/logs/a_{fold}.log"])
    freshness = Freshness(lambda name: rule, "clock", lambda path: f"ancient {path}")
    fold = {"fold": "1"}
    asked: Callable[[], Any] = lambda: freshness.clock_for("a")(fold)  # noqa: E731
    assert asked() == "clock"
    assert freshness.stale["results/x/logs/a_1.log"].note is None
    leave_note(job("results/x/logs/a_1.log", fingerprint=freshness.fingerprint("a", fold), rate=2))
    assert asked() == "ancient clock"
    file = note_of("results/x/logs/a_1.log")
    file.with_suffix(".txt").write_text(freshness.fingerprint("a", fold))
    file.unlink()
    assert asked() == "ancient clock"
    rule.params["rate"] = 3
    assert asked() == "clock"
    stale = freshness.stale["results/x/logs/a_1.log"]
    assert stale.params == {"rate": 3} and stale.note.params is None
