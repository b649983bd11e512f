"""What jobs tell of themselves, and what the status command makes of it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from spinegrade.runtime import progress as progress_module
from spinegrade.runtime import status as status_module
from spinegrade.runtime.progress import Progress
from spinegrade.runtime.run_events import RunEvents
from spinegrade.runtime.run_lock import RunLock
from spinegrade.runtime.run_view import read_run, table_of
from spinegrade.runtime.stage import run_stage
from spinegrade.runtime.status import StatusFile, status_of

PROJECT = Path(__file__).resolve().parents[2]
RULES = ["convert", "train", "report"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return tmp_path


def record(event: str | None, message: str = "", **values: Any) -> logging.LogRecord:
    """A record as Snakemake logs it."""
    return logging.makeLogRecord({"event": event, "msg": message, **values})


def begin(events: RunEvents, number: int, rule: str, fold: int) -> str:
    log = f"results/a/logs/{rule}_{fold}.log"
    events.emit(
        record("job_info", jobid=number, rule_name=rule, wildcards={"fold": fold}, log=[log])
    )
    return log


def planned_run() -> tuple[RunLock, RunEvents]:
    """A run of this process on results/a: 1 convert, 4 train, 1 report, and a target."""
    lock = RunLock("results/a")
    lock.acquire("snakemake", "local")
    events = RunEvents(
        Path("results/a"), RULES, lambda planned: None, lambda run: lock.note(slurm_run=run)
    )
    stats = {"all": 1, "train": 4, "convert": 1, "report": 1, "total": 7}
    events.emit(record("run_info", stats=stats))
    return lock, events


def tell(status: StatusFile, done: int, total: int, left: float | None, note: str) -> None:
    values = {"what": "epochs", "done": done, "total": total, "seconds_left": left, "note": note}
    status.emit(record(None, progress=values))


def test_each_state_is_told_apart(here: Path) -> None:
    _, events = planned_run()
    begin(events, 1, "convert", 0)
    events.emit(record("job_finished", job_id=1))
    running = StatusFile(begin(events, 2, "train", 0), "train", {"fold": 0})
    tell(running, 3, 10, 70.0, "loss 0.031")
    dead = begin(events, 3, "train", 1)
    StatusFile(dead, "train", {"fold": 1})
    gone = json.loads(status_of(dead).read_text()) | {"pid": 2**22 + 9}
    status_of(dead).write_text(json.dumps(gone))
    failed = begin(events, 4, "train", 2)
    StatusFile(failed, "train", {"fold": 2}).finish("the mask of study 7 is empty\nand more")
    events.emit(record("job_error", jobid=4, rule_name="train"))
    begin(events, 5, "train", 3)
    (here / "results/a/benchmarks").mkdir()
    (here / "results/a/benchmarks/report.tsv").write_text("s\th:m:s\tmax_rss\n20.0\t-\tNA\n")

    run = read_run("results/a")
    assert run is not None and run["state"] == "running"
    states = {job["wildcards"]["fold"]: job["state"] for job in run["jobs"]}
    assert states == {"0": "running", "1": "dead", "2": "failed", "3": "queued"}
    assert list(run["rules"]) == RULES  # the target is no work
    train = run["rules"]["train"]
    assert [train[k] for k in ("planned", "running", "dead", "failed", "queued")] == [4, 1, 1, 1, 1]
    assert run["rules"]["report"] | {"waiting": 1, "seconds_a_job": 20.0} == run["rules"]["report"]
    assert 80 < run["seconds_left"] <= 90  # 70 of the running job, 20 of the waiting report
    text = table_of(run)
    assert "epochs 3/10, about 1 min" in text and "left; loss 0.031" in text
    assert "1 of 6 jobs done, 1 running, 1 queued, 1 waiting, 1 failed, 1 dead" in text
    assert "the mask of study 7 is empty" in text and "and more" not in text
    assert failed in text and dead in text


def test_a_second_attempt_is_not_taken_for_the_first() -> None:
    _, events = planned_run()
    log = begin(events, 2, "train", 0)
    StatusFile(log, "train", {"fold": 0}).finish("out of memory")
    events.emit(record("job_error", jobid=2, rule_name="train"))
    begin(events, 2, "train", 0)
    run = read_run("results/a")
    assert run is not None and [job["state"] for job in run["jobs"]] == ["queued"]
    assert run["jobs"][0]["error"] is None


def test_a_killed_run_and_a_finished_one_say_so() -> None:
    lock, events = planned_run()
    begin(events, 2, "train", 0)
    lock.note(pid=2**22 + 9)
    run = read_run("results/a")
    assert run is not None and run["state"] == "killed"
    assert [job["state"] for job in run["jobs"]] == ["dead"]
    assert "results/a: was killed" in table_of(run)
    lock.note(pid=os.getpid())
    events.emit(record("job_finished", job_id=2))
    lock.release("done")
    run = read_run("results/a")
    assert run is not None and run["state"] == "done" and run["jobs"] == []


def test_slurm_jobs_are_told_by_squeue(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, events = planned_run()
    events.emit(record(None, "SLURM run ID: 0f-0f"))
    for number, slurm_job in ((2, "41"), (3, "42")):
        log = begin(events, number, "train", number)
        StatusFile(log, "train", {"fold": number})
        told = json.loads(status_of(log).read_text())
        status_of(log).write_text(json.dumps(told | {"slurm_job": slurm_job, "host": "node7"}))
    begin(events, 4, "train", 4)
    (here / "squeue").write_text(
        "#!/bin/sh\necho 41 RUNNING\ncase $* in *0f-0f*) echo 43 PENDING;; esac\n"
    )
    (here / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}:{os.environ['PATH']}")
    run = read_run("results/a")
    assert run is not None and run["head"]["slurm_run"] == "0f-0f"
    states = {job["wildcards"]["fold"]: job["state"] for job in run["jobs"]}
    assert states == {"2": "running", "3": "dead", "4": "queued"}
    assert "SLURM job 41 on node7" in table_of(run)


def test_a_stage_tells_its_progress_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    log = "results/a/logs/train_0.log"

    def main(job: Any) -> None:
        counter = Progress("epochs", 3, every_s=0)
        counter.step(note="loss 1.5")
        told.append(json.loads(status_of(log).read_text()))
        if job.params.fail:
            raise ValueError("no such thing")

    def stage(fail: bool) -> Any:
        return SimpleNamespace(
            rule="train",
            log=[log],
            threads=1,
            params=SimpleNamespace(fail=fail, math_threads=1),
            wildcards={"fold": 0},
            resources=SimpleNamespace(),
        )

    run_stage(stage(fail=False), main)
    assert told[0]["state"] == "running" and told[0]["wildcards"] == {"fold": "0"}
    progress = told[0]["progress"]
    assert (progress["done"], progress["total"], progress["note"]) == (1, 3, "loss 1.5")
    assert told[0]["pid"] == os.getpid()
    assert json.loads(status_of(log).read_text())["state"] == "done"
    with pytest.raises(SystemExit):
        run_stage(stage(fail=True), main)
    status = json.loads(status_of(log).read_text())
    assert (status["state"], status["error"]) == ("failed", "ValueError: no such thing")


def test_the_estimate_of_a_resumed_training_leaves_out_what_was_done_before(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    counter = Progress("epochs", 100)
    counter.done = 90
    now[0] = 10.0
    with caplog.at_level(logging.INFO, "spinegrade"):
        counter.step()
    assert caplog.records[0].progress["seconds_left"] == 90.0
    assert "91/100" in caplog.messages[0]


def test_a_status_that_cannot_be_written_ends_no_job(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(status_module, "write_json", full)
    with caplog.at_level(logging.WARNING, "spinegrade"):
        status = StatusFile("results/a/logs/train_0.log", "train", {})
        tell(status, 1, 2, 5.0, "")
        status.finish()
    assert len(caplog.messages) == 3 and "No space left" in caplog.messages[0]


def test_the_status_costs_next_to_nothing() -> None:
    status = StatusFile("results/a/logs/train_0.log", "train", {})
    began = time.process_time()
    for done in range(100):
        tell(status, done, 100, 5.0, "loss 1.0")
    # At most one every five seconds is written: this is below a thousandth of that time.
    assert (time.process_time() - began) / 100 < 0.005


def test_the_command_prints_tables_json_and_refusals() -> None:
    def status(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(PROJECT / "scripts/tools/status.py"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    nothing = status()
    assert nothing.returncode == 2 and "no run has left a trace" in nothing.stderr
    lock, events = planned_run()
    StatusFile(begin(events, 2, "train", 0), "train", {"fold": 0})
    shown = status()
    assert shown.returncode == 0 and "results/a: running" in shown.stdout
    elsewhere = subprocess.run(
        [sys.executable, str(PROJECT / "scripts/tools/status.py"), str(Path("results/a").resolve()),
         "--json"], capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    assert json.loads(elsewhere.stdout)["jobs"][0]["state"] == "running"
    assert status("--release").returncode == 2
    assert status("--config").returncode == 2
    lock.release("failed")
    assert status("results/a", "--watch").returncode == 1
