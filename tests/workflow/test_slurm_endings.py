"""Ends of jobs that Snakemake's executor for SLURM misreads or does not tell, on a real SLURM.

One run of five short jobs: a node is lost under one that may not be put back, one is put back and
held, one outlives SIGTERM, two share a job that fails. The run gets through.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster_run import PROJECT, Cluster

pytestmark = [pytest.mark.workflow, pytest.mark.slurm]
SNAKEFILE = PROJECT / "tests" / "workflow" / "endings.smk"
PATIENCE_S = 240.0
# It stands for accounts: the executor asks sacct for the node that was lost.
SACCT = f"""#!/bin/sh
case "$*" in *nodelist*) echo {socket.gethostname().split(".")[0]};; *) exit 1;; esac
"""
SETTINGS = [
    *("--executor", "slurm", "--jobs", "10", "--retries", "2", "--keep-going"),
    *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"),
    *("--latency-wait", "20"),
]


@dataclass(frozen=True)
class Ended:
    """The finished run: its folder, its words, and what SLURM says of each of its jobs."""

    folder: Path
    log: str
    jobs: list[str]
    state: int

    def tried(self, rule: str) -> int:
        """How often the job of ``rule`` began."""
        return len((self.folder / f"{rule}.tried").read_text().splitlines())

    def told(self, what: str) -> list[str]:
        """The lines of the log that have ``what`` in them."""
        return [line for line in self.log.splitlines() if what in line]


@pytest.fixture(scope="module")
def cluster(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    sacct = cluster.folder / "bin" / "sacct"
    sacct.write_text(SACCT)
    sacct.chmod(0o755)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def ended(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    folder = tmp_path_factory.mktemp("endings")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), *SETTINGS]
    with (folder / "run.log").open("w") as log:
        run = subprocess.Popen(
            command, cwd=folder, env=cluster.environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        disturb(cluster, folder, run)
        state = run.wait(timeout=PATIENCE_S)
    finally:
        run.kill()
        run.wait()
    shown = cluster.ask("scontrol", "show", "jobs", "--oneliner").splitlines()
    yield Ended(folder, (folder / "run.log").read_text(), shown, state)


def disturb(cluster: Cluster, folder: Path, run: subprocess.Popen[bytes]) -> None:
    """Hold one job, cancel another, lose the node under a third, and let the first go."""

    def log() -> str:
        return (folder / "run.log").read_text()

    def until(what: str, there: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not there():
            assert run.poll() is None and time.monotonic() < end, f"never {what}:\n{log()[-4000:]}"
            time.sleep(0.2)

    def number(rule: str) -> str:
        return next(job.number for job in cluster.jobs() if job.rule == rule)

    names = ("lost", "held", "outlives")
    until("begun", lambda: all((folder / f"{name}.tried").exists() for name in names))
    held = number("held")
    cluster.ask("scontrol", "requeuehold", held)
    cluster.ask("scancel", number("outlives"))
    until("told of a held job", lambda: "SLURM holds job" in log())
    until("told of a group's end", lambda: "ended as FAILED" in log())
    # The node comes back by itself (ReturnToService), within a second or two.
    node = socket.gethostname().split(".")[0]
    cluster.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    until("told of a lost node", lambda: "NODE_FAIL" in log())
    cluster.ask("scontrol", "release", held)


def test_the_run_gets_through(ended: Ended) -> None:
    assert ended.state == 0, ended.log[-4000:]


def test_a_lost_node_is_not_shunned_once_it_is_back(ended: Ended) -> None:
    assert ended.tried("lost") == 2 and (ended.folder / "lost.txt").exists()
    assert len(ended.told("(rule_lost) ended as NODE_FAIL, by signal")) == 1
    assert len(ended.jobs) >= 7 and all("ExcNodeList=(null)" in job for job in ended.jobs)


def test_a_held_job_is_told_once_with_what_releases_it(ended: Ended) -> None:
    [line] = ended.told("SLURM holds job")
    number = re.search(r"SLURM holds job (\d+) \(rule_held\)", line)
    assert number and "'job requeued in held state'" in line
    assert f"`scontrol release {number[1]}`" in line and ended.tried("held") == 2


def test_how_a_group_ended_is_told_once(ended: Ended) -> None:
    node = socket.gethostname().split(".")[0]
    [line] = ended.told("ended as FAILED")
    assert re.fullmatch(
        rf"SLURM job \d+ \(rule_together_\w+\) ended as FAILED, exit status 1, on {node}\.", line
    )


def test_a_job_that_outlives_its_end_has_failed_all_the_same(ended: Ended) -> None:
    assert (ended.folder / "outlives.finished").exists()
    assert len(ended.told("(rule_outlives) ended as CANCELLED")) == 1
    assert ended.tried("outlives") == 2
