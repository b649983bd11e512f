"""One run of the workflow, started with the same command as often as it takes, and watched."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
# What says when and how a run went differs between runs; what it made must not.
OF_THE_RUN = {"logs", "benchmarks", "status", "report", "cache", "runs", "fingerprints"}
COMPARED = {".csv", ".json", ".npy", ".nii", ".parquet", ".safetensors"}
_STARTED = re.compile(r"^Job (\d+): (.+)$", re.MULTILINE)
_FINISHED = re.compile(r"^Finished jobid: (\d+) \(Rule: (\w+)\)$", re.MULTILINE)
# The second form is Snakemake's own, of the benchmark tables that it writes itself.
ONE_SENTENCE = re.compile(
    r"\S+ cannot be written: [^\n]+; [^\n]+ run the same command again"
    r"|^OSError: \[Errno \d+\] [^\n]+: '\S*/benchmarks/\S+'$",
    re.MULTILINE,
)


@dataclass
class Attempt:
    """One start of the one command: its process, and what its output says so far."""

    process: subprocess.Popen[bytes]
    log: Path
    began: float = field(default_factory=time.monotonic)
    finished_at: list[float] = field(default_factory=list)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def started(self) -> dict[str, str]:
        """Snakemake's numbers of the jobs that were begun, and their messages."""
        return dict(_STARTED.findall(self.output()))

    def finished(self) -> dict[str, str]:
        """Messages of the jobs that were finished, and their rules."""
        started = self.started()
        done = {started[k]: rule for k, rule in _FINISHED.findall(self.output()) if k in started}
        now = time.monotonic() - self.began
        self.finished_at += [now] * (len(done) - len(self.finished_at))
        return done

    def wait(self, until: Callable[[], bool] = lambda: False) -> bool:
        """Follow it to its end, or to the moment that ``until`` names; True at that moment."""
        while self.process.poll() is None:
            self.finished()
            if until():
                return True
            time.sleep(0.05)
        self.finished()
        return False


@dataclass
class Run:
    """The same one command in one folder, started as often as it takes."""

    folder: Path
    arguments: list[str]
    done: dict[str, str] = field(default_factory=dict)
    begun: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    attempts: int = 0

    def start(self) -> Attempt:
        self.attempts += 1
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
        command += ["--workflow-profile", str(PROJECT / "profiles" / "default")]
        command += ["--directory", str(self.folder), *self.arguments]
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        log = self.folder.parent / f"{self.folder.name}.{self.attempts}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=file, env=environment, start_new_session=True
            )
        return Attempt(process, log)

    def note(self, attempt: Attempt) -> list[str]:
        """Take in what an attempt did; returns the messages of the jobs that it did not end."""
        started, finished = set(attempt.started().values()), attempt.finished()
        self.lost += [job for job in started if job in self.done]
        self.begun.update(started)
        self.done |= finished
        return sorted(started - set(finished))

    def complete(self) -> Attempt:
        """Start it and let it end; anything but success ends the whole script with its output."""
        attempt = self.start()
        attempt.wait()
        self.note(attempt)
        if attempt.process.returncode != 0:
            sys.exit(f"{self.folder} did not complete:\n{attempt.output()[-6000:]}")
        return attempt

    def results(self) -> dict[str, str]:
        """SHA-256 of everything that the run made, by its path."""
        root = self.folder / "results"
        files = (path for path in root.rglob("*") if path.suffix in COMPARED and path.is_file())
        chosen = (path.relative_to(root) for path in files)
        return {
            str(path): hashlib.sha256((root / path).read_bytes()).hexdigest()
            for path in chosen
            if len(path.parts) > 2 and not OF_THE_RUN.intersection(path.parts)
        }

    def bytes_used(self) -> int:
        blocks = (path.lstat().st_blocks for path in self.folder.rglob("*"))
        return sum(blocks) * 512
