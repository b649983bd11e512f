"""The SLURM profile on a real SLURM of one node that these tests start and stop themselves.

One run of the phantom workflow, disturbed on purpose, beside the same run without a cluster.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cluster_run import (
    CONFIGS,
    PROJECT,
    RESULTS,
    Cluster,
    Disturbed,
    Job,
    environments,
    listening,
    start_snakemake,
)

pytestmark = [pytest.mark.workflow, pytest.mark.slurm]
PROFILE = PROJECT / "profiles" / "slurm"
SUBMISSION = RESULTS / "combine" / "submission.csv"
PATIENCE_S = 2400.0
# The tests cannot wait as patiently as the profile does.
FASTER = ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "20"]
AN_END_THAT_IS_SEEN = """
import asyncio, logging, subprocess, sys
sys.path.insert(0, sys.argv[1])
import snakemake_executor_plugin_slurm as plugin
from snakemake_executor_plugin_slurm.job_status_query import query_job_status_squeue
from spinegrade.runtime.slurm_states import mend_slurm_executor
command = query_job_status_squeue("preempted")
ask = lambda: asyncio.run(plugin.query_job_status(command, logging.getLogger()))[0]
before = ask()
mend_slurm_executor()
print(*before.values(), *ask().values())
"""
A_DRY_RUN = """
import sys
from snakemake.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
plugin = sys.modules["snakemake_executor_plugin_slurm"]
print("mended:", hasattr(plugin.query_job_status, "ends_are_read"), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def bystander(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else that bears a daemon's name."""
    name = tmp_path_factory.mktemp("bystander") / "slurmctld"
    name.symlink_to("/bin/sleep")
    process = subprocess.Popen([name, "3600"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def cluster(
    installed: None,
    bystander: subprocess.Popen[bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    yield cluster
    if cluster.process.returncode is None:
        cluster.stop()


@dataclass(frozen=True)
class Undisturbed:
    """The same run without a cluster. It goes on beside the other and fills the waiting times."""

    folder: Path
    process: subprocess.Popen[str]

    def done(self) -> Path:
        """Its folder, once it has ended well."""
        ended = self.process.wait(timeout=PATIENCE_S)
        assert ended == 0, (self.folder / "run.log").read_text()[-4000:]
        return self.folder


@pytest.fixture(scope="module")
def undisturbed(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undisturbed]:
    folder = tmp_path_factory.mktemp("local") / "run"
    profile = str(PROJECT / "profiles" / "default")
    process = start_snakemake(folder, None, "--workflow-profile", profile, "--cores", "1")
    yield Undisturbed(folder, process)
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def disturbed(
    cluster: Cluster, undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory
) -> Disturbed:
    """A finished run on the cluster, in the course of which jobs were cancelled and preempted."""
    seen = Disturbed(cluster, tmp_path_factory.mktemp("cluster") / "run")
    arguments = ["--workflow-profile", str(PROFILE), *FASTER]
    run = start_snakemake(seen.folder, cluster.environment, *arguments)
    try:
        seen.watch(run, seconds=PATIENCE_S)
    finally:
        run.kill()
    assert run.returncode == 0, (seen.folder / "run.log").read_text()[-4000:]
    return seen


def running(jobs: list[Job]) -> list[Job]:
    return [job for job in jobs if job.state == "RUNNING" and "train_" in job.rule]


def log_of_fold(seen: Disturbed, fold: int) -> str:
    return (seen.folder / RESULTS / f"logs/train_localiser_sagittal_t1_{fold}.log").read_text()


def test_two_folds_train_at_once_each_on_a_gpu_of_its_own(disturbed: Disturbed) -> None:
    pairs = [jobs for jobs in disturbed.samples if len(running(jobs)) == 2]
    assert any({job.allotted for job in running(jobs)} == {"0", "1"} for jobs in pairs)
    # The training itself sees the device that SLURM has in its books, and no other.
    assert any({job.visible for job in running(jobs)} == {"0", "1"} for jobs in pairs)
    for job in (job for jobs in disturbed.samples for job in running(jobs) if job.visible):
        assert job.visible == job.allotted


def test_the_other_folds_wait_in_the_queue_and_never_more_than_two_run(
    disturbed: Disturbed,
) -> None:
    with_gpu = [[job for job in jobs if job.allotted is not None] for jobs in disturbed.samples]
    assert max(map(len, with_gpu)) == 2
    waiting = [
        job.rule
        for jobs in disturbed.samples
        for job in jobs
        if len(running(jobs)) == 2
        and job.state == "PENDING"
        and job.reason in ("Resources", "Priority")
    ]
    assert len({rule for rule in waiting if rule.startswith("train_localiser")}) >= 3


def test_a_cancelled_training_is_sent_again_and_goes_on_from_its_checkpoint(
    disturbed: Disturbed,
) -> None:
    cancelled = disturbed.cancelled
    assert cancelled is not None and disturbed.states(cancelled.number)[-1] == "CANCELLED"
    same = [job for job in all_jobs(disturbed).values() if job.rule == cancelled.rule]
    assert [job.state for job in same] == ["CANCELLED", "COMPLETED"]
    assert "goes on after epoch" in log_of_fold(disturbed, 0)
    # What SLURM wrote of the job that did not end well is kept.
    logs = disturbed.folder / ".snakemake/slurm_logs/rule_train_localiser/sagittal_t1_0"
    [log] = logs.iterdir()
    assert log.stem == cancelled.number
    # It was told to end, and kept what it had done until then.
    assert "told to end by SIGTERM; kept before:" in log.read_text()


def test_a_preempted_training_is_put_back_by_slurm_and_goes_on_from_its_checkpoint(
    disturbed: Disturbed,
) -> None:
    preempted = disturbed.preempted
    assert preempted is not None and disturbed.urgent is not None
    states = [s for s in disturbed.states(preempted.number) if s != "COMPLETING"]
    assert states[-4:] == ["RUNNING", "PENDING", "RUNNING", "COMPLETED"]
    assert "goes on after epoch" in log_of_fold(disturbed, 1)


def test_cancelled_and_preempted_folds_change_no_byte_of_the_submission(
    disturbed: Disturbed, undisturbed: Undisturbed
) -> None:
    alone = undisturbed.done()
    assert "goes on after" not in "".join(
        path.read_text() for path in (alone / RESULTS / "logs").glob("train_*.log")
    )
    assert (disturbed.folder / SUBMISSION).read_bytes() == (alone / SUBMISSION).read_bytes()


def test_the_number_of_jobs_hangs_on_shards_and_folds_not_on_studies(
    disturbed: Disturbed,
) -> None:
    config = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())
    for file in CONFIGS:
        given = yaml.safe_load(file.read_text())
        for block in ("cohort", "runtime", "phantom"):
            config[block] |= given.get(block, {})
    learners = config["learners"]
    trainings = config["cohort"]["folds"] * len(learners)
    crops = -(-config["runtime"]["shards"] * len(config["crop"]["sets"]) // 4)
    # Tables, phantom, keypoint errors, what comes after the predictions; the training that was
    # sent twice.
    single = 4 + 1 + 1
    assert len(all_jobs(disturbed)) <= trainings + 2 * config["runtime"]["shards"] + crops + single
    studies = config["phantom"]["studies"] + config["phantom"]["test_studies"]
    assert studies > 2 * config["runtime"]["shards"]


def test_each_job_asks_for_memory_and_time_and_only_gpu_jobs_for_a_gpu(
    disturbed: Disturbed,
) -> None:
    for job in all_jobs(disturbed).values():
        assert "TimeLimit=UNLIMITED" not in job.request and "TimeLimit=" in job.request
        # Without a request SLURM gives a job the whole node's memory.
        asked = re.search(r"TRES=\S*mem=(\d+)([MG])", job.request)
        assert asked and int(asked[1]) * {"M": 1, "G": 1024}[asked[2]] <= 16000, job
        # A group of predictions is named by what is in it.
        of_a_network = any(word in job.rule for word in ("train_", "infer_", "predict_"))
        assert ("TresPerJob=gres:gpu:1" in job.request) == of_a_network, job


def test_a_preempted_job_that_slurm_gives_up_counts_as_failed(cluster: Cluster) -> None:
    cluster.ask("scontrol", "update", "PartitionName=usual", "PreemptMode=cancel")
    words = ("--mem=100", "--time=1", "--gpus=1", "--output=/dev/null", "--wrap=sleep 60")
    number = cluster.ask("sbatch", "--parsable", "--job-name=preempted", *words).strip()
    wait_for(cluster, number, "RUNNING")
    cluster.take_all_gpus()
    wait_for(cluster, number, "PREEMPTED")
    seen = subprocess.run(
        [sys.executable, "-c", AN_END_THAT_IS_SEEN, str(PROJECT / "scripts")],
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout.split() == ["PREEMPTED", "CANCELLED"]


def test_the_workflow_mends_the_executor_that_it_runs_with(installed: None, tmp_path: Path) -> None:
    arguments = ["--snakefile", PROJECT / "Snakefile", "--directory", tmp_path, "--dry-run"]
    arguments += ["--workflow-profile", PROJECT / "profiles" / "default"]
    done = subprocess.run(
        [sys.executable, "-c", A_DRY_RUN, *arguments, "--configfile", *CONFIGS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "mended: True" in done.stderr, done.stderr[-2000:]


def test_the_daemons_listen_on_this_machine_alone_and_leave_nothing_and_nobody_else_behind(
    cluster: Cluster, bystander: subprocess.Popen[bytes]
) -> None:
    """The last test: it stops the cluster, with a job in it."""
    words = ("--mem=100", "--time=1", "--output=/dev/null")
    number = cluster.ask("sbatch", "--parsable", *words, "--wrap=setsid sleep 55 & sleep 56")
    wait_for(cluster, number.strip(), "RUNNING")
    wanted = {"munged", "slurmctld", "slurmd", "slurmstepd", "sleep"}
    end = time.monotonic() + 60
    while not wanted <= set((ours := names_of_all(cluster)).values()):
        assert time.monotonic() < end, ours
        time.sleep(0.2)
    # 127.0.0.1 as Linux writes it.
    assert listening(list(ours)) == {"0100007F"}
    assert cluster.stop() == 0
    assert environments(str(cluster.folder)) == {}
    assert bystander.poll() is None


def all_jobs(seen: Disturbed) -> dict[str, Job]:
    """Each job of the workflow as it was seen last, by number."""
    jobs = (job for sample in seen.samples for job in sample)
    return {job.number: job for job in jobs if job.partition == "usual"}


def names_of_all(cluster: Cluster) -> dict[int, str]:
    """Name by number of every process of the cluster and of its jobs."""
    names = {}
    for process in environments(str(cluster.folder)):
        with suppress(OSError):  # it may have ended since
            names[process] = Path(f"/proc/{process}/comm").read_text().strip()
    return names


def wait_for(cluster: Cluster, number: str, state: str) -> None:
    end = time.monotonic() + 60
    while {job.number: job.state for job in cluster.jobs()}[number] != state:
        assert time.monotonic() < end, f"job {number} is not {state}"
        time.sleep(0.2)
