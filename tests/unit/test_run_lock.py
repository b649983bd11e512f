"""The run lock: held by the living, taken from the dead, and asked about where nobody can tell."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from refusals import refused
from snakemake.exceptions import ApiError, WorkflowError
from spinegrade.errors import SpinegradeError
from spinegrade.runtime import run_lock, run_session
from spinegrade.runtime.processes import is_alive, slurm_jobs, this_process
from spinegrade.runtime.run_lock import (
    NAME,
    RunLock,
    read_record,
    release_dead,
    unfinished_jobs,
    unlock_snakemake,
)
from spinegrade.runtime.status import StatusFile

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in a folder of its own, with no squeue on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return tmp_path


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of results/a until it is killed."""
    code = (
        f"import sys; sys.path.insert(0, {str(PROJECT / 'scripts')!r})\n"
        "from spinegrade.runtime.run_lock import RunLock\n"
        "lock = RunLock('results/a'); lock.acquire('snakemake', 'local')\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def leave(**changes: Any) -> dict[str, Any]:
    """A record of a run on results/a that never ended, as a kill leaves it."""
    gone = {**this_process(), "pid": 2**22 + 7}
    record = {**gone, "began": time.time() - 60, "ended": None, "outcome": None}
    record |= {"command": "snakemake", "executor": "local", "slurm_run": None, **changes}
    Path("results/a").mkdir(parents=True, exist_ok=True)
    Path("results/a", NAME).write_text(json.dumps(record))
    return record


def fake_squeue(here: Path, answer: str, code: int = 0) -> None:
    (here / "bin").mkdir(exist_ok=True)
    script = here / "bin" / "squeue"
    script.write_text(f'#!/bin/sh\necho "$@" >> {here}/asked\n{answer}\nexit {code}\n')
    script.chmod(0o755)


def test_a_living_run_refuses_a_second_and_a_killed_one_gives_way(
    other: subprocess.Popen[str],
) -> None:
    before = Path("results/a", NAME).read_bytes()
    with refused("RUN_IN_USE", f"pid {other.pid} on "):
        RunLock("results/a").acquire("snakemake", "local")
    assert Path("results/a", NAME).read_bytes() == before
    other.kill()
    other.wait()
    killed = RunLock("results/a").acquire("snakemake", "local")
    assert killed is not None and killed["pid"] == other.pid
    record = read_record("results/a")
    assert record is not None and record["pid"] == os.getpid() and record["ended"] is None


def test_flock_speaks_for_a_run_whose_process_cannot_be_seen(
    other: subprocess.Popen[str],
) -> None:
    record = read_record("results/a")
    assert record is not None
    # As from a container, or from another host where flock reaches over the network.
    Path("results/a", NAME).write_text(json.dumps(record | {"host": "elsewhere"}))
    with refused("RUN_IN_USE"):
        RunLock("results/a").acquire("snakemake", "local")
    with refused("RUN_IN_USE"):
        release_dead("results/a")


def test_a_run_that_ended_leaves_nothing_to_clear() -> None:
    lock = RunLock("results/a")
    assert lock.acquire("snakemake -c 2", "local") is None
    lock.note(slurm_run="a-name")
    lock.release("failed")
    record = read_record("results/a")
    assert record is not None and record["outcome"] == "failed" and record["ended"] > 0
    assert record["slurm_run"] == "a-name" and record["command"] == "snakemake -c 2"
    again = RunLock("results/a")
    assert again.acquire("snakemake", "local") is None
    again.release("done")


def test_the_same_process_number_with_another_start_is_another_process() -> None:
    me = this_process()
    assert is_alive(me) is True
    assert is_alive({**me, "started": me["started"] - 100}) is False
    leave(pid=me["pid"], started=me["started"] - 100)
    assert RunLock("results/a").acquire("snakemake", "local") is not None


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    for _ in range(200):
        if psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.05)
    started = psutil.Process(child.pid).create_time()
    assert is_alive({**this_process(), "pid": child.pid, "started": started}) is False
    child.wait()


def test_a_living_process_counts_where_flock_does_not_reach(
    monkeypatch: pytest.MonkeyPatch, other: subprocess.Popen[str]
) -> None:
    def no_flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(run_lock.fcntl, "flock", no_flock)
    with refused("RUN_IN_USE"):
        RunLock("results/a").acquire("snakemake", "local")
    other.kill()
    other.wait()
    assert RunLock("results/a").acquire("snakemake", "local") is not None


def test_a_run_of_another_host_is_asked_about_and_released_by_hand() -> None:
    left = leave(host="elsewhere", pid=12)
    with refused("RUN_ON_ANOTHER_HOST", "pid 12 on elsewhere", "--release`"):
        RunLock("results/a").acquire("snakemake", "local")
    assert read_record("results/a") == left
    assert "declared dead" in release_dead("results/a")
    taken = RunLock("results/a").acquire("snakemake", "local")
    assert taken is not None and taken["outcome"] == "released"


def test_a_living_run_cannot_be_released(other: subprocess.Popen[str]) -> None:
    with refused("RUN_IN_USE"):
        release_dead("results/a")
    record = read_record("results/a")
    assert record is not None and record["ended"] is None


def test_a_job_that_outlives_its_run_is_named() -> None:
    leave()
    status = StatusFile("results/a/logs/train_keypoints_0.log", "train_keypoints", {"fold": "0"})
    assert [job["rule"] for job in unfinished_jobs("results/a")] == ["train_keypoints"]
    with pytest.raises(SpinegradeError) as refused:
        RunLock("results/a").acquire("snakemake", "local")
    assert f"train_keypoints (pid {os.getpid()} on " in str(refused.value)
    assert f"`kill {os.getpid()}`" in str(refused.value)
    status.finish()
    assert RunLock("results/a").acquire("snakemake", "local") is not None


def test_a_job_that_has_not_yet_told_of_itself_is_found_by_its_script(here: Path) -> None:
    script = here / ".snakemake" / "scripts" / "tmp1.train.py"
    script.parent.mkdir(parents=True)
    script.write_text("import time; time.sleep(60)")
    leave()
    # Started by a process that is gone, so that nobody watches it, as after a kill.
    command = [sys.executable, str(script)]
    start = f"import subprocess as s; print(s.Popen({command!r}, stdout=-3, stderr=-3).pid)"
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=True)
    job = psutil.Process(int(done.stdout))
    with refused("RUN_WITH_LIVING_JOBS", f"pid {job.pid}"):
        RunLock("results/a").acquire("snakemake", "local")
    job.kill()
    for _ in range(200):
        if is_zombie(job.pid):
            break
        time.sleep(0.05)
    assert RunLock("results/a").acquire("snakemake", "local") is not None


def is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_queued_slurm_jobs_of_a_dead_run_are_not_doubled(here: Path) -> None:
    leave(slurm_run="0f0f", executor="slurm")
    fake_squeue(here, "echo '17 RUNNING'; echo '18 PENDING'")
    with refused("RUN_WITH_QUEUED_JOBS", 2, "`scancel --name 0f0f`"):
        RunLock("results/a").acquire("snakemake", "slurm")
    assert "--name 0f0f" in (here / "asked").read_text()
    fake_squeue(here, "")
    assert RunLock("results/a").acquire("snakemake", "slurm") is not None


def test_a_silent_squeue_is_no_proof_of_death(here: Path) -> None:
    leave(slurm_run="0f0f", executor="slurm")
    with refused("RUN_OF_UNKNOWN_JOBS"):
        RunLock("results/a").acquire("snakemake", "slurm")
    fake_squeue(here, "echo 'Unable to contact slurm controller' >&2", code=1)
    assert slurm_jobs(["3"]) is None
    with refused("RUN_OF_UNKNOWN_JOBS"):
        RunLock("results/a").acquire("snakemake", "slurm")
    fake_squeue(here, "echo 'slurm_load_jobs error: Invalid job id specified' >&2", code=1)
    assert slurm_jobs(["3"]) == {}


def test_a_run_inside_a_slurm_job_is_judged_by_squeue_from_any_host(here: Path) -> None:
    leave(host="node7", slurm_job="99")
    fake_squeue(here, "echo '99 RUNNING'")
    with refused("RUN_IN_USE"):
        RunLock("results/a").acquire("snakemake", "local")
    fake_squeue(here, "")
    assert RunLock("results/a").acquire("snakemake", "local") is not None


def test_only_a_dead_runs_own_snakemake_locks_go(here: Path) -> None:
    locks = here / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").write_text("data/train.csv\nresults/a/x.parquet\n")
    (locks / "0.output.lock").write_text("results/a/x.parquet\nresults/a/y.parquet\n")
    # A live run on b that takes the models of a.
    (locks / "1.input.lock").write_text("results/a/weights\nresults/b/x.parquet\n")
    (locks / "1.output.lock").write_text("results/b/x.parquet\n")
    (locks / "2.output.lock").write_text("results/ab/x.parquet\n")
    assert unlock_snakemake(here, "results/a", "results/a") == ["0.input.lock", "0.output.lock"]
    assert sorted(p.name for p in locks.iterdir()) == [
        "1.input.lock",
        "1.output.lock",
        "2.output.lock",
    ]
    assert unlock_snakemake(here, "results/b", "results/a") == ["1.input.lock", "1.output.lock"]


def test_a_file_that_is_no_lock_is_named() -> None:
    Path("results/a").mkdir(parents=True)
    Path("results/a", NAME).write_text("{")
    with refused("LOCK_DAMAGED", "results/a/.run_lock"):
        read_record("results/a")


@pytest.mark.parametrize(
    ("number", "told"), [(errno.EROFS, "its disk is read-only"), (errno.EIO, None)]
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_disk_that_snakemake_itself_cannot_write_to_is_told_in_a_sentence(
    number: int, told: str | None, wrapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(executor_plugin: object) -> None:
        try:
            raise OSError(number, os.strerror(number), str(tmp_path / "cohort" / "a.parquet"))
        except OSError as error:
            if wrapped:
                raise WorkflowError("Failed to create output directory.", error)  # noqa: B904
            raise

    workflow = SimpleNamespace(
        execute=execute,
        is_main_process=True,
        basedir=str(PROJECT),
        rules=[],
        resource_settings=SimpleNamespace(overwrite_resources={}, overwrite_threads={}),
        group_settings=SimpleNamespace(overwrite_groups={}),
    )
    monkeypatch.setattr(run_session, "RunSession", lambda *_: nullcontext())
    results = str(tmp_path / "toy")
    run_session.watch_run(workflow, {"cohort": {"name": "toy"}}, results, results)
    plugin = SimpleNamespace(common_settings=SimpleNamespace(dryrun_exec=False))
    if told is None:
        with pytest.raises((OSError, WorkflowError), match="Input/output error"):
            workflow.execute(executor_plugin=plugin)
    else:
        with pytest.raises(ApiError, match=rf"a\.parquet cannot be written: {told}; make .* again"):
            workflow.execute(executor_plugin=plugin)
