"""What a run on SLURM is told of its jobs, from answers that SLURM 22.05 gave."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest
from spinegrade.runtime.slurm_notices import SlurmNotices

QUERY = "squeue '--format=%i|%T' --states=all --noheader --name spinegrade_1"
FAILED = "JobId=2 JobState=FAILED Reason=NonZeroExitCode ExitCode=1:0 NodeList=vm Comment=rule_a_b"
LOST = "JobId=3 JobState=NODE_FAIL Reason=NodeDown ExitCode=0:15 NodeList=vm Comment=rule_c"
# Cancelled before it ran: no node.
WAITED = "JobId=10 JobState=CANCELLED Reason=None ExitCode=0:0 NodeList=(null) Comment=rule_d"


class Slurm:
    """Stand-ins for two clients: what each prints by the job or run that it is asked about."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("scontrol", "squeue"):
            client = folder / name
            # The last argument is the job, or the option that names the run.
            client.write_text(f'#!/bin/sh\nfor last; do :; done\ncat "{folder}/{name}.$last"\n')
            client.chmod(0o755)

    def says(self, client: str, about: str, *lines: str) -> None:
        (self.folder / f"{client}.{about}").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return Slurm(tmp_path)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture):  # type: ignore[no-untyped-def]
    """Returns what a look at ``states`` says that was not said before, a line each."""
    notices = SlurmNotices()

    def look(states: dict[str, str], command: str = QUERY) -> list[str]:
        caplog.clear()
        asyncio.run(notices.tell(states, command, logging.getLogger("test")))
        return [record.getMessage() for record in caplog.records]

    return look


def test_each_bad_end_is_told_once_in_the_order_of_the_jobs(slurm: Slurm, told) -> None:
    for job, line in (("2", FAILED), ("3", LOST), ("10", WAITED)):
        slurm.says("scontrol", job, line)
    states = {"10": "CANCELLED", "1": "COMPLETED", "2": "FAILED", "3": "NODE_FAIL"}
    assert told(states) == [
        "SLURM job 2 (rule_a_b) ended as FAILED, exit status 1, on vm.",
        "SLURM job 3 (rule_c) ended as NODE_FAIL, by signal 15, on vm, and SLURM did not put it "
        "back into the queue.",
        "SLURM job 10 (rule_d) ended as CANCELLED, exit status 0.",
    ]
    assert told(states) == []


def test_the_state_is_told_where_scontrol_is_silent(told, slurm: Slurm) -> None:
    assert told({"7": "TIMEOUT"}) == ["SLURM job 7 ended as TIMEOUT."]


def test_sacct_may_show_an_end_that_is_none(told, slurm: Slurm) -> None:
    states = {"1": "PREEMPTED", "2": "NODE_FAIL", "3": "CANCELLED by 1000"}
    assert told(states, "sacct -X --name spinegrade_1") == ["SLURM job 3 ended as CANCELLED."]


def test_a_held_job_is_told_once_and_again_when_it_is_held_again(told, slurm: Slurm) -> None:
    about = "--name=spinegrade_1"
    held = "5|0|launch failed requeued held|rule_train_wildcards_0"
    waiting = ["6|4294901754|Resources|rule_train_wildcards_1", "4|0|None|rule_cancelled"]
    states = {"4": "COMPLETED", "5": "PENDING", "6": "PENDING"}
    slurm.says("squeue", about, held, *waiting)
    expected = [
        "SLURM holds job 5 (rule_train_wildcards_0), for the reason 'launch failed requeued held': "
        "it waits, and this run with it, until it is released with `scontrol release 5`."
    ]
    assert told(states) == expected
    assert told(states) == []
    (slurm.folder / f"squeue.{about}").unlink()
    assert told(states) == [], "a squeue that does not answer is no release"
    slurm.says("squeue", about, held, *waiting)
    assert told(states) == []
    slurm.says("squeue", about, *waiting)
    assert told(states | {"5": "RUNNING"}) == []
    slurm.says("squeue", about, held, *waiting)
    assert told(states) == expected


def test_a_squeue_that_is_silent_or_odd_ends_no_run(told, slurm: Slurm) -> None:
    assert told({"5": "PENDING"}) == []
    slurm.says("squeue", "--name=spinegrade_1", "slurm_load_jobs error", "5|0")
    assert told({"5": "PENDING", "6": ""}) == []
