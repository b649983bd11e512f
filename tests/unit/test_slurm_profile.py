"""The SLURM profile without a SLURM: what it must say, and what it must leave to the user."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from spinegrade.runtime.slurm_states import (
    PLUGIN,
    TRIED,
    mend_slurm_executor,
    with_ends_read,
    with_last_answer,
)

PROJECT = Path(__file__).resolve().parents[2]
PROFILE = yaml.safe_load((PROJECT / "profiles" / "slurm" / "config.yaml").read_text())
DEFAULT = yaml.safe_load((PROJECT / "profiles" / "default" / "config.yaml").read_text())
RULES = {
    name: file.read_text()[found.end() :].split("\nrule ")[0]
    for file in (PROJECT / "rules").glob("*.smk")
    for found in re.finditer(
        r"^ *(?:use )?rule (?:\w+ as )?(\w+)(?:| with):", file.read_text(), re.MULTILINE
    )
    for name in [found[1]]
}


def test_a_lost_cancelled_or_unanswered_job_is_not_waited_for_for_ever() -> None:
    assert PROFILE["slurm-status-command"] == "squeue"
    assert PROFILE["slurm-status-attempts"] * PROFILE["max-status-checks-per-second"] >= 600
    assert PROFILE["retries"] >= 1 and PROFILE["rerun-incomplete"] and PROFILE["keep-going"]
    # SLURM forgets a job after MinJobAge, 300 s unless a cluster says otherwise.
    assert 3 * PROFILE["slurm-init-seconds-before-status-checks"] <= 300


def test_nothing_is_of_one_cluster_and_what_is_comes_from_the_users_own_profile() -> None:
    theirs = {"default-resources", "set-resources", "set-threads", "resources"}
    assert not theirs & PROFILE.keys()
    words = ("account", "partition", "qos", "reservation", "array")
    assert not [key for key in PROFILE if any(word in key for word in words)]


def test_what_is_stale_and_how_jobs_are_chosen_is_the_same_as_without_a_cluster() -> None:
    for key in ("rerun-triggers", "scheduler", "rerun-incomplete", "keep-going"):
        assert PROFILE[key] == DEFAULT[key]


def test_short_rules_share_a_job_and_every_training_has_its_own() -> None:
    grouped = dict(entry.split("=") for entry in PROFILE["groups"])
    assert grouped.keys() <= RULES.keys()
    assert not [rule for rule in grouped if rule.startswith("train_")]
    # Rules that run once a shard, and so many times, never go alone.
    by_shard = {name for name, text in RULES.items() if "{wildcards.shard}" in text}
    assert len(by_shard) >= 4 and by_shard <= grouped.keys()


def test_a_preempted_job_and_one_whose_node_failed_end_for_squeue_and_not_for_sacct() -> None:
    async def query(command: str, logger: object) -> tuple[dict[str, str], float]:
        return {"1": "RUNNING", "2": "PREEMPTED", "3": "COMPLETED", "4": "NODE_FAIL"}, 0.1

    asked = with_ends_read(query)
    logger = logging.getLogger("test")
    states, seconds = asyncio.run(asked("squeue --states=all", logger))
    read = {"1": "RUNNING", "2": "CANCELLED", "3": "COMPLETED", "4": "CANCELLED"}
    assert (states, seconds) == (read, 0.1)
    states, _ = asyncio.run(asked("sacct -X", logger))
    assert states is not None and (states["2"], states["4"]) == ("PREEMPTED", "NODE_FAIL")


def test_a_query_that_failed_stays_a_query_that_failed() -> None:
    async def query(command: str, logger: object) -> tuple[None, None]:
        return None, None

    answer = asyncio.run(with_ends_read(query)("squeue", logging.getLogger("test")))
    assert answer == (None, None)


def test_another_version_of_the_executor_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async def query(command: str, logger: object) -> tuple[dict[str, str], float]:
        return {}, 0.1

    for installed, count in ((TRIED, 0), ("9.9.9", 1)):
        caplog.clear()
        asked = with_ends_read(query, installed)
        for _ in range(2):
            asyncio.run(asked("squeue", logging.getLogger("test")))
        assert caplog.text.count(f"is {installed}; how jobs end") == count
    pinned = (PROJECT / "requirements-slurm.txt").read_text()
    assert f"snakemake-executor-plugin-slurm=={TRIED}\n" in pinned


def test_a_controller_that_is_silent_once_remembers_as_long_as_it_said_before() -> None:
    answers = iter([None, 600, None, 60])
    ask = with_last_answer(lambda: next(answers))
    assert [ask() for _ in range(4)] == [300, 600, 600, 60]


def test_the_executor_is_mended_once_and_only_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def query(command: str, logger: object) -> tuple[dict[str, str], float]:
        return {}, 0.1

    plugin = SimpleNamespace(query_job_status=query, get_min_job_age=lambda: None)
    monkeypatch.setitem(sys.modules, PLUGIN, plugin)  # type: ignore[arg-type]
    monkeypatch.setattr("spinegrade.runtime.slurm_states.version", lambda _: TRIED)
    mend_slurm_executor()
    mended = plugin.query_job_status
    assert mended is not query and plugin.get_min_job_age() == 300
    mend_slurm_executor()
    assert plugin.query_job_status is mended
    monkeypatch.delitem(sys.modules, PLUGIN)
    mend_slurm_executor()
    assert PLUGIN not in sys.modules
