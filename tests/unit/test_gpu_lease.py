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
from types import SimpleNamespace

import pytest
from spinegrade.errors import SpinegradeError
from spinegrade.runtime import gpu_locks, gpu_pool
from spinegrade.runtime.gpu_lease import check_gpu_limit, gpus_of_a_job, lease_devices
from spinegrade.runtime.gpu_pool import find_pool

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
TWO = """\
GPU 0: NVIDIA A (UUID: GPU-aaaa1111)
GPU 1: NVIDIA A (UUID: GPU-bbbb2222)
"""
UNLIKE = TWO.replace("NVIDIA A (UUID: GPU-b", "NVIDIA B (UUID: GPU-b")
PARTS = """\
GPU 0: NVIDIA A (UUID: GPU-aaaa1111)
  MIG 1g.5gb      Device  0: (UUID: MIG-cccc3333)
  MIG 3g.20gb     Device  1: (UUID: MIG-dddd4444)
GPU 1: NVIDIA A (UUID: GPU-bbbb2222)
"""
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
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """A machine whose nvidia-smi prints what it is given: at first one with two GPUs, 0 and 1."""
    for name in list(os.environ):
        if name.startswith(("CUDA", "SLURM", "SPINEGRADE")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv(gpu_locks.FOLDER_VARIABLE, str(tmp_path / "locks"))
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program = tmp_path / "nvidia-smi"

    def printing(text: str, status: int = 0) -> None:
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\nexit {status}\n")
        program.chmod(0o755)

    printing(TWO)
    return printing


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


def names_of(environment: dict[str, str]) -> tuple[list[str], list[str]]:
    pool = find_pool({"PATH": os.environ["PATH"]} | environment)
    return [d.name for d in pool.devices], [d.key for d in pool.devices]


def free_at_once(count: int = 1) -> bool:
    try:
        with lease_devices(count, "another", wait_s=0.3):
            return True
    except SpinegradeError:
        return False


@pytest.mark.parametrize(
    ("visible", "names", "keys"),
    [
        (None, ["GPU-aaaa1111", "GPU-bbbb2222"], ["GPU-aaaa1111", "GPU-bbbb2222"]),
        ("1,0", ["1", "0"], ["GPU-bbbb2222", "GPU-aaaa1111"]),
        (" 1 ", ["1"], ["GPU-bbbb2222"]),
        ("GPU-b", ["GPU-b"], ["GPU-bbbb2222"]),
        ("0,GPU-aaaa1111", ["0"], ["GPU-aaaa1111"]),
        ("0,-1,1", ["0"], ["GPU-aaaa1111"]),
        ("0,7,1", ["0"], ["GPU-aaaa1111"]),
        ("GPU-none", [], []),
        ("", [], []),
        ("-1", [], []),
        ("NoDevFiles", [], []),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(
    visible: str | None, names: list[str], keys: list[str]
) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert names_of(environment) == (names, keys)


def test_parts_of_a_gpu_stand_for_it(machine: Callable[..., None]) -> None:
    machine(PARTS)
    assert names_of({})[0] == ["MIG-cccc3333", "MIG-dddd4444", "GPU-bbbb2222"]
    # CUDA takes the first part of a GPU that is named by its number.
    assert names_of({"CUDA_VISIBLE_DEVICES": "0,MIG-d"})[1] == ["MIG-cccc3333", "MIG-dddd4444"]


def test_numbers_of_unlike_gpus_are_uuids_only_where_their_order_is_given(
    machine: Callable[..., None],
) -> None:
    machine(UNLIKE)
    assert names_of({"CUDA_VISIBLE_DEVICES": "1"}) == (["1"], ["number-1"])
    order = {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert names_of(order) == (["1"], ["GPU-bbbb2222"])


def test_without_an_answer_of_nvidia_smi_there_is_no_gpu_and_the_reason_is_kept(
    machine: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("NVIDIA-SMI has failed because it could not reach the driver\n", 9)
    assert "could not reach the driver" in find_pool({"PATH": str(tmp_path) + ":/bin"}).source
    assert names_of({}) == ([], [])
    assert names_of({"CUDA_VISIBLE_DEVICES": "0,3"})[0] == ["0", "3"]
    monkeypatch.setattr(gpu_pool, "_SMI_TIMEOUT_S", 0.2)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 5\n")
    assert "did not answer within 0.2 s" in find_pool({"PATH": str(tmp_path) + ":/bin"}).source
    assert "not installed" in find_pool({"PATH": "/nowhere"}).source


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
        pytest.raises(SpinegradeError, match="forked by process"),
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
        refused = pytest.raises(SpinegradeError, match=f"process {pids[1]}, which was started by")
        with refused, lease_devices(1, "next", wait_s=0.3):
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
        pytest.raises(SpinegradeError, match="next in turn: process"),
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
    with pytest.raises(SpinegradeError, match=gpu_locks.FOLDER_VARIABLE), lease_devices(1, "a"):
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


@pytest.mark.parametrize(("count", "device"), [(0, "auto"), (0, "cuda"), (1, "cpu")])
def test_a_job_of_the_cpu_holds_nothing_and_sees_no_device(count: int, device: str) -> None:
    with lease_devices(count, "a", device) as names:
        assert names == () and os.environ["CUDA_VISIBLE_DEVICES"] == ""
        assert not Path(os.environ[gpu_locks.FOLDER_VARIABLE]).exists()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_without_a_gpu_auto_is_the_cpu_and_cuda_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with caplog.at_level(logging.INFO, "spinegrade"), lease_devices(2, "a", "auto") as names:
        assert names == ()
    assert caplog.messages == ["this job runs on the CPU (no GPU: CUDA_VISIBLE_DEVICES=)"]
    with (
        pytest.raises(SpinegradeError, match=r"set runtime\.device to auto or cpu"),
        lease_devices(1, "a", "cuda"),
    ):
        pass


def test_a_job_for_more_gpus_than_there_are_is_refused() -> None:
    refused = pytest.raises(SpinegradeError, match=r"a asks for 3 GPUs, but there are 2.*a:gpu=2")
    with refused, lease_devices(3, "a"):
        pass


def test_a_lease_comes_before_cuda_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", used)
    with pytest.raises(RuntimeError, match="before its device was leased"), lease_devices(1, "a"):
        pass


def test_what_slurm_allotted_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # Within its cgroup each job of SLURM calls its device 0: another job's 0 is another device.
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    before = dict(os.environ)
    with lease_devices(1, "a") as names:
        assert names == ("0",)
        del os.environ[gpu_locks.LEASE_VARIABLE]
        assert dict(os.environ) == before
        monkeypatch.setenv("SLURM_JOB_ID", "42")
        assert free_at_once()


def test_jobs_that_share_an_allotment_get_a_device_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    with lease_devices(1, "a") as first:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
        with lease_devices(1, "b") as second:
            assert (first, second) == (("2",), ("5",))


def test_unnamed_devices_of_slurm_are_not_touched_and_others_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    with lease_devices(1, "a") as names:
        assert names == () and os.environ["CUDA_VISIBLE_DEVICES"] == ""
    with (
        pytest.raises(SpinegradeError, match="SLURM job 41 was allotted none"),
        lease_devices(1, "a", "cuda"),
    ):
        pass
    monkeypatch.setenv("SLURM_JOB_GPUS", "3")
    before = dict(os.environ)
    with lease_devices(1, "a", "cuda") as names:
        assert names == () and dict(os.environ) == before


def test_a_limit_above_what_exists_gets_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_gpu_limit(2, "auto") is None and check_gpu_limit(1, "cuda") is None
    assert check_gpu_limit(8, "cpu") is None
    sentence = check_gpu_limit(8, "auto")
    assert sentence.startswith("The gpu limit is 8, but there are 2 (CUDA_VISIBLE_DEVICES=0,1")
    assert sentence.endswith("give --resources gpu=2.")
    assert check_gpu_limit(None, "auto").startswith("No gpu limit is given, but there are 2")
    assert [gpus_of_a_job(device) for device in ("auto", "cuda", "cpu")] == [1, 1, 0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "run on the CPU" in check_gpu_limit(2, "auto")
    assert "its jobs fail" in check_gpu_limit(2, "cuda")
    assert [gpus_of_a_job(device) for device in ("auto", "cuda", "cpu")] == [0, 1, 0]


def test_every_library_keeps_to_a_jobs_threads() -> None:
    code = """
import cv2, pyarrow, SimpleITK, torch
cv2.getNumThreads()  # from here on it has made up its mind
from spinegrade.runtime.threads import limit_threads
limit_threads(3)
limit_threads(3)
import os, subprocess, sys
itk = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads
print(torch.get_num_threads(), cv2.getNumThreads(), pyarrow.cpu_count(),
      pyarrow.io_thread_count(), itk(), torch.get_num_interop_threads(), flush=True)
later = "import cv2; print(cv2.getNumThreads())"
subprocess.run([sys.executable, "-c", later], check=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "3", "3", "3", "3", "1", "3"]


def test_a_stage_says_on_what_it_computes_and_that_its_threads_exceed_its_cores(
    tmp_path: Path,
) -> None:
    code = """
from types import SimpleNamespace as Some
from spinegrade.runtime.stage import run_stage
import os
params, resources = Some(math_threads=4, device="auto"), Some(gpu=1)
job = Some(rule="a", log=["logs/a.log"], threads=2, wildcards={})
job.params, job.resources = params, resources
run_stage(job, lambda job: print(os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"]))
resources.gpu = 3
run_stage(job, print)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1 and done.stdout == "0 4\n"
    assert "WARNING 4 threads compute on 2 cores: give more --cores" in done.stderr
    assert (
        "INFO this job runs on GPU 0 (CUDA_VISIBLE_DEVICES=0,1; nvidia-smi lists 2)" in done.stderr
    )
    assert "ERROR a: a asks for 3 GPUs, but there are 2" in done.stderr


def test_torch_without_a_usable_gpu_refuses_cuda_and_warns_of_an_idle_device(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch
    from spinegrade.runtime.torch_setup import prepare

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(SpinegradeError, match=r"runtime\.device is cuda, but torch .* no GPU"):
        prepare(1, torch.get_num_threads(), "cuda")
    with caplog.at_level(logging.INFO, "spinegrade"):
        assert prepare(1, torch.get_num_threads(), "auto").type == "cpu"
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert prepare(1, torch.get_num_threads(), "auto").type == "cpu"
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO", "INFO"] and "computing on the CPU" in caplog.messages[-1]
