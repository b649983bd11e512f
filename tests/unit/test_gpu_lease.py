"""A device has one job at a time, whatever becomes of the job; names only, no GPU is needed."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gpu_machine import free_at_once
from refusals import refused
from spinegrade.errors import SpinegradeError
from spinegrade.runtime import gpu_locks
from spinegrade.runtime.gpu_lease import lease_devices

# Takes a lease, says so, runs what it is told, and holds on until its input ends.
HOLDER = """
import os, subprocess, sys, time
from spinegrade.runtime.gpu_lease import lease_devices
with lease_devices(int(sys.argv[1]), "train_it", wait_s=float(sys.argv[2])) as names:
    print(",".join(names), flush=True)
    exec(sys.argv[3])
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def two_gpus(machine: Callable[..., None]) -> None:
    """Every test has the machine."""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start processes that hold a lease; what is left of them is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def run(count: int = 1, wait_s: float = 20, then: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, str(count), str(wait_s), then]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen(command, text=True, **pipes))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_two_jobs_get_a_device_each_and_a_third_is_told_who_has_them() -> None:
    with lease_devices(1, "first") as first:
        os.environ["CUDA_VISIBLE_DEVICES"] = "0,1"
        with lease_devices(1, "second") as second:
            assert (first, second) == (("0",), ("1",))
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
            os.environ["CUDA_VISIBLE_DEVICES"] = "0,1"
            with pytest.raises(SpinegradeError) as refused, lease_devices(1, "third", wait_s=0.3):
                pass
    message = str(refused.value)
    assert f"GPU 0: process {os.getpid()} (first on" in message
    assert f"GPU 1: process {os.getpid()} (second on" in message
    assert "--resources gpu=2" in message
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert free_at_once(2)


def test_one_device_under_two_names_is_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    with lease_devices(2, "first"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa1111")
        assert not free_at_once()
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        assert not free_at_once()


def test_a_killed_job_frees_its_device_at_once(start: Callable[..., subprocess.Popen]) -> None:
    holder = start(2)
    assert holder.stdout.readline() == "0,1\n"
    assert not free_at_once()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    # It asks once, and does not wait.
    with lease_devices(2, "next", wait_s=0):
        pass


def test_a_forked_process_keeps_the_device_of_its_killed_job(
    start: Callable[..., subprocess.Popen],
) -> None:
    # As a worker that loads data does: it shares the job's memory on the device.
    holder = start(2, then="if os.fork() == 0:\n    time.sleep(1.5)\n    os._exit(0)")
    holder.stdout.readline()
    time.sleep(0.1)
    holder.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    with (
        refused("GPU_WAITED"),
        lease_devices(1, "a", "auto", 0),
    ):
        pass
    assert not free_at_once()
    with lease_devices(2, "next", wait_s=5):
        pass


def test_a_started_program_keeps_the_device_only_while_it_has_it_open(
    start: Callable[..., subprocess.Popen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_locks, "DEVICE_FILES", str(tmp_path / "nvidia"))
    (tmp_path / "nvidia0").touch()
    sleeper = "import subprocess; c = subprocess.Popen(['sleep', '30'], stdin={}); print(c.pid)"
    pids = []
    for stdin in ("-3", f"open({str(tmp_path / 'nvidia0')!r})"):
        holder = start(2, then=sleeper.format(stdin) + "; sys.stdout.flush()")
        holder.stdout.readline()
        pids.append(int(holder.stdout.readline()))
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        if len(pids) == 1:
            assert free_at_once(2)
    try:
        waited = refused("GPU_WAITED", f"process {pids[1]}")
        with waited, lease_devices(1, "next", wait_s=0.3):
            pass
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    with lease_devices(2, "next", wait_s=5):
        pass


def test_a_job_that_needs_both_devices_is_not_overtaken(
    start: Callable[..., subprocess.Popen],
) -> None:
    first = start(1)
    assert first.stdout.readline() == "0\n"
    both = start(2)
    deadline = time.monotonic() + 10
    folder = Path(os.environ[gpu_locks.FOLDER_VARIABLE])
    while f'"pid": {both.pid},' not in "".join(f.read_text() for f in folder.glob("queue-*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # Device 1 is free, yet it is for the job that waits for both.
    with (
        refused("GPU_WAITED", f"process {both.pid}"),
        lease_devices(1, "a", "auto", 0),
    ):
        pass
    later = start(1)
    first.communicate()
    assert both.stdout.readline() == "0,1\n"
    both.communicate()
    assert later.stdout.readline() == "0\n"


def test_what_a_dead_job_left_in_the_files_keeps_nobody_out() -> None:
    folder = Path(os.environ[gpu_locks.FOLDER_VARIABLE])
    with lease_devices(2, "first"):
        files = {file.name: file.read_text() for file in folder.iterdir()}
    assert {"GPU-aaaa1111.lock", "GPU-bbbb2222.lock"} <= files.keys()
    for text in (files["GPU-aaaa1111.lock"].replace(str(os.getpid()), "4194000"), "{", "[1]", ""):
        (folder / "GPU-aaaa1111.lock").write_text(text)
        assert free_at_once(2)


def test_waiting_is_told_in_the_log(
    start: Callable[..., subprocess.Popen], caplog: pytest.LogCaptureFixture
) -> None:
    holder = start(2)
    holder.stdout.readline()
    refused = pytest.raises(SpinegradeError)
    with caplog.at_level(logging.INFO, "spinegrade"), refused, lease_devices(1, "a", "auto", 1.5):
        pass
    waiting = [text for text in caplog.messages if text.startswith("waiting for 1 of 2 GPUs")]
    assert len(waiting) == 1 and f"process {holder.pid} (train_it on" in waiting[0]


@pytest.mark.parametrize("trap", ["link", "open", "file", "foreign"])
def test_a_folder_that_others_could_write_to_is_refused(tmp_path: Path, trap: str) -> None:
    folder = tmp_path / "locks"
    if trap == "file":
        folder.touch()
    elif trap == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir(mode=0o700)
        if trap == "open":
            folder.chmod(0o777)
        elif os.geteuid():
            pytest.skip("only root can give a folder to another user")
        else:
            os.chown(folder, 12345, -1)
    with refused("GPU_LOCKS", gpu_locks.FOLDER_VARIABLE), lease_devices(1, "a"):
        pass


def test_the_folder_is_private_and_its_files_do_not_follow_links(tmp_path: Path) -> None:
    with lease_devices(1, "a"):
        assert (tmp_path / "locks").stat().st_mode & 0o777 == 0o700
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "locks" / "GPU-aaaa1111.lock").unlink()
    (tmp_path / "locks" / "GPU-aaaa1111.lock").symlink_to(target)
    with pytest.raises(OSError), lease_devices(1, "a"):
        pass
    assert target.read_text() == "mine"
