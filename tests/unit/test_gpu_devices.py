"""Which devices a job may have, and what it is told; names only, no GPU is needed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from gpu_machine import TWO, free_at_once
from refusals import refused
from spinegrade.runtime import gpu_locks, gpu_pool
from spinegrade.runtime.gpu_lease import check_gpu_limit, gpus_of_a_job, lease_devices, no_gpu_for
from spinegrade.runtime.gpu_pool import find_pool

UNLIKE = TWO.replace("NVIDIA A (UUID: GPU-b", "NVIDIA B (UUID: GPU-b")
PARTS = """\
GPU 0: NVIDIA A (UUID: GPU-aaaa1111)
  MIG 1g.5gb      Device  0: (UUID: MIG-cccc3333)
  MIG 3g.20gb     Device  1: (UUID: MIG-dddd4444)
GPU 1: NVIDIA A (UUID: GPU-bbbb2222)
"""


@pytest.fixture(autouse=True)
def two_gpus(machine: Callable[..., None]) -> None:
    """Every test has the machine."""


def names_of(environment: dict[str, str]) -> tuple[list[str], list[str]]:
    pool = find_pool({"PATH": os.environ["PATH"]} | environment)
    return [d.name for d in pool.devices], [d.key for d in pool.devices]


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
        refused("GPU_NONE", key="runtime.device"),
        lease_devices(1, "a", "cuda"),
    ):
        pass


def test_a_job_for_more_gpus_than_there_are_is_refused() -> None:
    too_few = refused("GPU_TOO_FEW", 3, "a:gpu=2")
    with too_few, lease_devices(3, "a"):
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
        refused("GPU_NONE", "SLURM job 41", key="runtime.device"),
        lease_devices(1, "a", "cuda"),
    ):
        pass
    monkeypatch.setenv("SLURM_JOB_GPUS", "3")
    before = dict(os.environ)
    with lease_devices(1, "a", "cuda") as names:
        assert names == () and dict(os.environ) == before


def test_a_limit_above_what_exists_gets_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_gpu_limit(2, "auto") is None and check_gpu_limit(1, "cuda") is None
    assert no_gpu_for("cuda") is None
    assert check_gpu_limit(8, "cpu") is None
    sentence = check_gpu_limit(8, "auto")
    assert sentence.startswith("The gpu limit is 8, but there are 2 (CUDA_VISIBLE_DEVICES=0,1")
    assert sentence.endswith("give --resources gpu=2.")
    assert check_gpu_limit(None, "auto").startswith("No gpu limit is given, but there are 2")
    assert [gpus_of_a_job(device) for device in ("auto", "cuda", "cpu")] == [1, 1, 0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "run on the CPU" in check_gpu_limit(2, "auto")
    # Jobs that need one are refused before; the others need no advice.
    assert check_gpu_limit(2, "cuda") is None
    assert "runtime.device is cuda, but there is no GPU" in no_gpu_for("cuda")
    assert no_gpu_for("auto") is None and no_gpu_for("cpu") is None
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
    with refused("GPU_NONE", key="runtime.device"):
        prepare(1, torch.get_num_threads(), "cuda")
    with caplog.at_level(logging.INFO, "spinegrade"):
        assert prepare(1, torch.get_num_threads(), "auto").type == "cpu"
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert prepare(1, torch.get_num_threads(), "auto").type == "cpu"
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO", "INFO"] and "computing on the CPU" in caplog.messages[-1]
