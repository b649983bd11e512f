"""The phantom workflow on a throw-away SLURM: what is done to it, and what was seen meanwhile."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
THROWAWAY = PROJECT / "tests" / "slurm" / "throwaway.py"
CONFIGS = [PROJECT / "tests" / "workflow" / name for name in ("miniature.yaml", "slurm.yaml")]
RESULTS = Path("results/miniature")
CHECKPOINTS = RESULTS / "localise" / ".checkpoints"
_ALLOTTED = re.compile(r"GRES=gpu:\d+\(IDX:([\d,-]+)\)")


def missing() -> str:
    """Why no cluster can be started here; empty where one can."""
    asked = subprocess.run(
        [sys.executable, THROWAWAY, "--missing"], capture_output=True, text=True, check=True
    )
    return asked.stdout.strip()


def environments(text: str) -> dict[int, dict[str, str]]:
    """Environment by number of every process, zombies aside, in whose environment ``text`` is."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in environment:
            pairs = (
                part.partition("=") for part in environment.decode(errors="replace").split("\0")
            )
            found[int(folder.name)] = {name: value for name, _, value in pairs}
    return found


def listening(processes: list[int]) -> set[str]:
    """Hexadecimal addresses on which any of the processes listens, of Linux' tables."""
    sockets = set()
    for process in processes:
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            try:
                sockets.add(descriptor.readlink().name)
            except OSError:
                continue
    addresses = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] in ("0A", "07") and f"socket:[{words[9]}]" in sockets:
                addresses.add(words[1].partition(":")[0])
    return addresses


@dataclass(frozen=True)
class Job:
    """One job at one moment, as squeue, scontrol and its own processes tell of it."""

    number: str
    state: str
    reason: str
    rule: str
    partition: str
    allotted: str | None = None  # index of the GPU in SLURM's books
    visible: str | None = None  # CUDA_VISIBLE_DEVICES of the stage script's process
    request: str = ""  # everything that scontrol says


@dataclass
class Cluster:
    """A throw-away SLURM in ``folder``, started by a process of its own."""

    folder: Path
    process: subprocess.Popen[str] = field(init=False)
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, THROWAWAY, "--folder", self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        self.environment = json.loads(line)

    def stop(self) -> int:
        """End its input, as the end of the test's process would; returns its exit status."""
        self.process.communicate(timeout=60)
        return self.process.returncode

    def ask(self, *command: str) -> str:
        """What a SLURM client prints."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def jobs(self) -> list[Job]:
        """Every job that SLURM knows, ended ones too."""
        listed = self.ask("squeue", "-h", "-t", "all", "-o", "%i|%T|%r|%k|%P").splitlines()
        shown = self.ask("scontrol", "show", "jobs", "--details", "--oneliner").splitlines()
        requests = {
            words.split()[0].partition("=")[2]: words for words in shown if "JobId=" in words
        }
        visible = {
            process["SLURM_JOB_ID"]: process.get("CUDA_VISIBLE_DEVICES")
            for number, process in environments(str(self.folder)).items()
            if "SLURM_JOB_ID" in process and _is_stage(number)
        }
        jobs = []
        for line in listed:
            number, state, reason, rule, partition = line.split("|")
            request = requests.get(number, "")
            found = _ALLOTTED.search(request) if state == "RUNNING" else None
            jobs.append(
                Job(
                    *(number, state, reason, rule.removeprefix("rule_"), partition),
                    allotted=found[1] if found else None,
                    visible=visible.get(number),
                    request=request,
                )
            )
        return jobs

    def take_all_gpus(self) -> str:
        """Send a short job that goes before all others; returns its number."""
        wanted = ("--gpus=2", "--mem=100", "--time=1", "--output=/dev/null", "--wrap=sleep 1")
        return self.ask("sbatch", "--parsable", "--partition=urgent", *wanted).strip()


def _is_stage(process: int) -> bool:
    try:
        return b".snakemake/scripts/" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def start_snakemake(
    folder: Path, environment: dict[str, str] | None, *arguments: str
) -> subprocess.Popen[str]:
    """Start the workflow up to the submission in ``folder``; its words go to run.log there."""
    folder.mkdir()
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
    command += [*arguments, "--configfile", *map(str, CONFIGS)]
    command += ["--", str(RESULTS / "combine" / "submission.csv")]
    with (folder / "run.log").open("w") as log:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True
        )


@dataclass
class Disturbed:
    """A run in which one training is cancelled and others are preempted, as it was seen."""

    cluster: Cluster
    folder: Path
    samples: list[list[Job]] = field(default_factory=list)
    cancelled: Job | None = None
    preempted: Job | None = None
    urgent: str | None = None

    def watch(self, run: subprocess.Popen[str], seconds: float) -> None:
        """Look twice a second until ``run`` ends; cancel and preempt once each on the way."""
        end = time.monotonic() + seconds
        while run.poll() is None:
            assert time.monotonic() < end, f"still running after {seconds:.0f} s"
            self.samples.append(self.cluster.jobs())
            for _ in range(5):
                self._disturb()
                time.sleep(0.1)
        self.samples.append(self.cluster.jobs())

    def _disturb(self) -> None:
        """Cancel one training, and preempt all, as soon as there is a checkpoint to go on from."""
        if self.cancelled is None and (job := self._half_done(fold=0)):
            self.cancelled = job
            self.cluster.ask("scancel", job.number)
        if self.urgent is None and (job := self._half_done(fold=1)):
            self.preempted = job
            self.urgent = self.cluster.take_all_gpus()

    def _half_done(self, fold: int) -> Job | None:
        """The running training of that fold, once it has left a checkpoint."""
        if not (self.folder / CHECKPOINTS / f"sagittal_t1_fold_{fold}.pt").exists():
            return None
        name = f"train_localiser_wildcards_sagittal_t1_{fold}"
        jobs = self.cluster.jobs()
        return next((job for job in jobs if job.rule == name and job.state == "RUNNING"), None)

    def states(self, number: str) -> list[str]:
        """The states that a job went through, in their order."""
        seen = [job.state for jobs in self.samples for job in jobs if job.number == number]
        return [state for at, state in enumerate(seen) if at == 0 or seen[at - 1] != state]
