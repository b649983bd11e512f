"""Snakemake with GPU jobs: a device each, no more at once than there are; the CPU without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
ROOM = PROJECT / "tests" / "room"
sys.path.insert(0, str(ROOM))

pytestmark = pytest.mark.workflow

SNAKEFILE = """
import sys

sys.path.insert(0, config["scripts"])
from spinegrade.runtime.gpu_lease import check_gpu_limit, gpus_of_a_job

limit = workflow.global_resources.get("gpu")
sentence = check_gpu_limit(None if limit is None else limit.value, "auto")
if sentence:
    print("NOTE", sentence, file=sys.stderr)


rule all:
    input:
        expand("{job}.json", job=config["jobs"]),


# A job's name says what it does: its number, its GPUs, and whether its first try is killed.
rule stand_in:
    output:
        "{number}_{gpus}_{end}.json",
    log:
        "logs/{number}_{gpus}_{end}.log",
    threads: 1
    retries: 1
    resources:
        gpu=lambda w: int(w.gpus) * gpus_of_a_job("auto"),
        attempt=lambda w, attempt: attempt,
    params:
        device="auto",
        work=config["work"],
    script:
        "stand_in.py"
"""

SCRIPT = """
import json, os, signal, time
from pathlib import Path
from spinegrade.runtime.stage import run_stage


def main(job):
    began, busy = time.time(), 0
    if job.wildcards.end == "trains":
        busy = max(map(busy_threads, works(job)))
    elif job.wildcards.end == "meets":
        Path(f"met_{job.wildcards.number}").touch()
        while len(list(Path().glob("met_*"))) < job.params.work["meeting"]:
            assert time.time() - began < 60, "the others did not come"
            time.sleep(0.05)
    elif job.wildcards.end == "held":
        Path("held").touch()
        while not Path("let_go").exists():
            assert time.time() - began < 120, "nobody let this job go"
            time.sleep(0.05)
    else:
        time.sleep(0.4)
    devices = [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    told = {"devices": devices, "began": began, "ended": time.time(), "busy": busy}
    killed = job.wildcards.end == "killed" and job.resources.attempt == 1
    path = f"{job.output[0]}.killed" if killed else job.output[0]
    Path(path).write_text(json.dumps(told))
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)


def busy_threads(work):
    # Those that shared the work, with a tenth of its CPU time or more each.
    seconds, before = {}, threads_seconds()
    while sum(seconds.values()) < 0.25:
        work()
        seconds = {name: s - before.get(name, 0) for name, s in threads_seconds().items()}
    return sum(s >= 0.1 * sum(seconds.values()) for s in seconds.values())


def threads_seconds():
    found = {}
    for task in Path("/proc/self/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        found[task.name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def works(job):
    image, square = np.zeros((1024, 1024), np.float32), np.ones((500, 500))
    network = torch.nn.Sequential(*(torch.nn.Conv2d(32, 32, 3, padding=1) for _ in range(4)))
    prepare(1, job.threads, job.params.device)

    def train():
        network(torch.zeros(4, 32, 96, 96)).square().mean().backward()

    yield lambda: cv2.GaussianBlur(image, (31, 31), 5)
    yield lambda: square @ square
    yield train
    if job.wildcards.number == "0":
        from heatmap_helpers import train as train_detector

        given = job.params.work
        folder = Path(f"{job.output[0]}.run")
        yield lambda: train_detector(folder, given["paths"], given["block"], 0)


if snakemake.wildcards.end == "trains":
    import cv2
    import numpy as np
    import torch
    from spinegrade.runtime.torch_setup import prepare

run_stage(snakemake, main)
"""


def start(
    folder: Path,
    jobs: list[str],
    *arguments: str,
    visible: str = "0,1",
    **work: Any,
) -> subprocess.Popen[str]:
    """Start a workflow of stand-in ``jobs`` on a machine with the devices ``visible``."""
    folder.mkdir(parents=True)
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "stand_in.py").write_text(SCRIPT)
    # No driver: whatever GPUs the machine under the test has, their names are those given.
    (folder / "bin").mkdir()
    (folder / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho no driver\nexit 9\n")
    (folder / "bin" / "nvidia-smi").chmod(0o755)
    config = {"scripts": str(PROJECT / "scripts"), "jobs": jobs, "work": work}
    (folder / "config.json").write_text(json.dumps(config))
    drop = ("CUDA", "SLURM", "SPINEGRADE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    environment |= {
        "CUDA_VISIBLE_DEVICES": visible,
        "SPINEGRADE_GPU_LOCKS": str(folder.parent / "locks"),
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": f"{PROJECT / 'scripts'}:{ROOM}:{ROOM.parent}",
    }
    command = [sys.executable, "-m", "snakemake", "--directory", str(folder), "--keep-going"]
    command += ["--snakefile", str(folder / "Snakefile"), "--workflow-profile", "none"]
    command += ["--configfile", str(folder / "config.json"), *arguments]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(run: subprocess.Popen[str], folder: Path) -> tuple[list[dict[str, Any]], str]:
    """What each try of each job told, and what Snakemake and the jobs said."""
    try:
        words = run.communicate(timeout=300)[0]
    finally:
        run.kill()
    assert run.returncode == 0, words
    told = [json.loads(file.read_text()) for file in folder.glob("*_*_*") if file.is_file()]
    return told, words


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one["began"] < other["ended"] and other["began"] < one["ended"]


def most_at_once(told: list[dict[str, Any]], of: str | None = None) -> int:
    """The greatest number of jobs (or sum of what they tell as ``of``) at any time."""
    return max(
        sum(job[of] if of else 1 for job in told if job["began"] <= now["began"] < job["ended"])
        for now in told
    )


def assert_each_had_its_own(told: list[dict[str, Any]]) -> None:
    for one, other in combinations(told, 2):
        shared = set(one["devices"]) & set(other["devices"])
        assert not (shared and overlap(one, other)), (one, other)
    assert {name for job in told for name in job["devices"]} == {"0", "1"}
    assert most_at_once(told) <= 2


def test_with_a_limit_each_job_has_its_own_device_and_a_killed_one_gives_it_back(
    tmp_path: Path,
) -> None:
    jobs = ["1_1_meets", "2_1_killed", "3_1_meets", "4_2_ends", "5_1_ends", "6_1_ends"]
    run = start(tmp_path / "run", jobs, "--cores", "24", "--resources", "gpu=2", meeting=2)
    told, words = finish(run, tmp_path / "run")
    assert sorted(len(job["devices"]) for job in told) == [1, 1, 1, 1, 1, 1, 2]
    assert_each_had_its_own(told)
    assert "NOTE" not in words


def wait_until(holds: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < ends, what
        time.sleep(0.05)


def test_two_workflows_without_a_limit_share_the_devices(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    runs = {one: start(one, ["1_2_held", "2_1_ends", "3_1_ends", "4_1_ends"], "--cores", "4")}
    # While one workflow holds both devices, every job of the other has to wait and says so.
    wait_until((one / "held").exists, "no job took the devices")
    runs[other] = start(other, ["1_1_ends", "2_2_ends", "3_1_ends", "4_1_ends"], "--cores", "4")
    waits = "waiting for 1 of 2 GPUs"
    wait_until(
        lambda: any(waits in log.read_text() for log in (other / "logs").glob("*.log")),
        "no job said that it waits",
    )
    (one / "let_go").touch()
    told, words = [], ""
    for folder, run in runs.items():
        found, said = finish(run, folder)
        told, words = told + found, words + said
    assert sorted(len(job["devices"]) for job in told) == [1, 1, 1, 1, 1, 1, 2, 2]
    assert_each_had_its_own(told)
    assert waits in words and "(stand_in on" in words
    assert "NOTE No gpu limit is given, but there are 2" in words


def test_without_a_gpu_the_same_command_uses_the_cores(tmp_path: Path) -> None:
    run = start(
        *(tmp_path / "run", [f"{n}_1_meets" for n in range(4)]),
        *("--cores", "4", "--resources", "gpu=2"),
        visible="",
        meeting=4,
    )
    told, words = finish(run, tmp_path / "run")
    assert all(job["devices"] == [] for job in told)
    assert most_at_once(told) == 4
    assert "There is no GPU (CUDA_VISIBLE_DEVICES=): training and inference run on the CPU" in words


def test_trainings_on_the_cpu_never_compute_on_more_threads_than_there_are_cores(
    tmp_path: Path,
) -> None:
    from heatmap_helpers import small_block
    from keypoint_helpers import write_canal_cohort

    paths = write_canal_cohort(tmp_path / "cohort", studies=6)
    run = start(
        *(tmp_path / "run", [f"{n}_1_trains" for n in range(5)]),
        *("--cores", "2", "--resources", "gpu=2"),
        visible="",
        paths=paths,
        block=small_block(epochs=2),
    )
    told, _ = finish(run, tmp_path / "run")
    assert [job["busy"] for job in told] == [1] * 5
    assert most_at_once(told, "busy") <= 2
