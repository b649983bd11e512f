"""Kill, starve and lock out a run, start it again with the same one command, and compare the bytes.

    python benchmarks/chaos.py kill --times 20 --seed 1   # SIGKILL to all its processes, 20 times
    python benchmarks/chaos.py disk-full --times 3        # a disk too small, made larger each time
    python benchmarks/chaos.py read-only --times 3        # one folder after another read-only

Each mode does a reference run first. The moments are drawn over the reference's time, and found
again in the other run by the number of jobs that were finished. disk-full mounts a tmpfs and needs
root; so does read-only for a mount, and takes the right to write away from anyone else. What
follows -- goes to snakemake, such as targets. --configfile replaces tests/workflow/miniature.yaml.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from chaos_run import ONE_SENTENCE, PROJECT, Attempt, Run

MINIATURE = PROJECT / "tests" / "workflow" / "miniature.yaml"


def compare(reference: Run, other: Run) -> list[str]:
    """What is wrong with ``other``, one line each; prints what is the same."""
    wanted, found = reference.results(), other.results()
    wrong = [f"{path} differs" for path in sorted(wanted) if found.get(path) != wanted[path]]
    wrong += [f"{path} is not in the reference" for path in sorted(set(found) - set(wanted))]
    wrong += [f"finished before, but done again: {job}" for job in other.lost]
    left = [str(path) for path in other.folder.rglob(".part-*")]
    left += [str(path) for path in other.folder.rglob("*.pt")]
    wrong += [f"left behind: {path}" for path in left]
    for path in sorted(wanted):
        if path.endswith("/submission.csv"):
            print(f"submission.csv {wanted[path][:16]} and {found.get(path, 'none')[:16]}")
    same = sum(found.get(path) == digest for path, digest in wanted.items())
    again = other.begun.total() - len(other.begun)
    print(f"{same} of {len(wanted)} files equal; {again} of {other.begun.total()} starts of jobs "
          f"were repetitions, of {len(other.begun)} jobs")  # fmt: skip
    return wrong


def moments(
    reference: Attempt, seconds: float, times: int, draws: random.Random
) -> list[tuple[int, float]]:
    """Random moments of the reference's time: jobs finished by then, and seconds since the last."""
    found = []
    for moment in sorted(draws.uniform(0, seconds) for _ in range(times)):
        before = [at for at in reference.finished_at if at <= moment]
        found.append((len(before), moment - (before[-1] if before else 0.0)))
    return found


def kill(reference: Run, run: Run, at: list[tuple[int, float]]) -> list[str]:
    """Kill ``run`` at the moments, then let it complete; the rules of the jobs of each kill."""
    killed = []
    for count, delay in at:
        attempt = run.start()
        if not attempt.wait(Moment(run, attempt, count, delay).has_come):
            run.note(attempt)
            break
        os.killpg(attempt.process.pid, signal.SIGKILL)
        attempt.process.wait()
        running = run.note(attempt)
        rules = ", ".join(sorted(reference.done.get(job, "?") for job in running)) or "(planning)"
        killed.append(rules)
        after = time.monotonic() - attempt.began
        print(f"kill: after {after:5.1f} s, {len(run.done)} jobs finished, in {rules}", flush=True)
        _nobody_is_left(run.folder)
    run.complete()
    return killed


@dataclass
class Moment:
    """``delay`` seconds after ``count`` jobs of the run are finished, or when the next one is."""

    run: Run
    attempt: Attempt
    count: int
    delay: float
    met: float | None = None

    def has_come(self) -> bool:
        new = set(self.attempt.finished()) - set(self.run.done)
        done = len(self.run.done) + len(new)
        if self.met is None and done >= self.count:
            if self.count == 0:
                self.met = self.attempt.began
            # Where these jobs were finished before, planning the others is not the moment.
            elif new or self.attempt.started():
                self.met = time.monotonic()
        passed = bool(new) and done > self.count
        return passed or (self.met is not None and time.monotonic() - self.met >= self.delay)


def _nobody_is_left(folder: Path) -> None:
    time.sleep(0.2)
    for process in psutil.process_iter(["cmdline", "status"]):
        words = " ".join(process.info["cmdline"] or [])
        if str(folder) in words and process.info["status"] != psutil.STATUS_ZOMBIE:
            sys.exit(f"still running after the kill: {words[:300]}")


def refused(run: Run, kind: str) -> None:
    """Let the command fail: in one clear sentence, and without a traceback."""
    attempt = run.start()
    attempt.wait()
    ended = run.note(attempt)
    if attempt.process.returncode == 0:
        sys.exit(f"it completed although {kind}")
    told = sorted(set(ONE_SENTENCE.findall(attempt.output())))
    print(f"{kind}: {len(run.done)} jobs finished, {len(ended)} not; "
          f"{told[0] if told else 'NO CLEAR SENTENCE'}", flush=True)  # fmt: skip
    if not told or "Traceback" in attempt.output():
        sys.exit(attempt.output()[-6000:])


def disk_full(reference: Run, run: Run, times: int, seed: int) -> None:
    needed = reference.bytes_used()
    draws = random.Random(seed)
    with mounted(run.folder, needed // 20):
        for share in sorted(draws.uniform(0.05, 0.9) for _ in range(times)):
            system("mount", "-o", f"remount,size={int(needed * share)}", str(run.folder))
            refused(run, f"the disk holds {share:.0%} of what is needed")
        system("mount", "-o", f"remount,size={needed * 2}", str(run.folder))
        run.complete()
        finish(compare(reference, run))


def read_only(reference: Run, run: Run, times: int, seed: int) -> None:
    cohort = next((reference.folder / "results").iterdir())
    # A run goes on where it cannot tell how far it is.
    rooms = [path for path in cohort.iterdir() if path.is_dir() and path.name != "status"]
    chosen = random.Random(seed).sample(sorted(rooms), min(times, len(rooms)))
    # In the order of the run, so that each has still something to be written to.
    for room in sorted(chosen, key=first_written):
        folder = run.folder / "results" / cohort.name / room.name
        folder.mkdir(parents=True, exist_ok=True)
        with unwritable(folder):
            refused(run, f"{room.name}/ is read-only")
    run.complete()
    finish(compare(reference, run))


def first_written(folder: Path) -> float:
    return min((path.stat().st_mtime for path in folder.rglob("*") if path.is_file()), default=0)


def system(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"skipped: {' '.join(command)}: {done.stderr.strip()} (mounting needs root)")


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[None]:
    """A tmpfs of ``size`` bytes at ``folder``."""
    system("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield
    finally:
        system("umount", str(folder))


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """``folder`` read-only: by a mount for root, whom rights do not hold, else by its rights."""
    if os.geteuid() != 0:
        mode = folder.stat().st_mode
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(mode)
        return
    system("mount", "--bind", str(folder), str(folder))
    try:
        system("mount", "-o", "remount,ro,bind", str(folder))
        yield
    finally:
        system("umount", str(folder))


def finish(wrong: list[str]) -> None:
    if wrong:
        sys.exit("\n".join(wrong[:40]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["kill", "disk-full", "read-only"])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--configfile", type=Path, nargs="+", default=[MINIATURE])
    parser.add_argument("--keep", type=Path, help="work in this empty folder and keep it")
    given = [*sys.argv[1:], "--"]
    options = parser.parse_args(given[: given.index("--")])
    files = [str(path.resolve()) for path in options.configfile]
    arguments = [
        "--cores",
        str(options.cores),
        "--configfile",
        *files,
        *given[given.index("--") : -1],
    ]
    work = options.keep or Path(tempfile.mkdtemp(prefix="chaos-"))
    reference, run = Run(work / "reference", arguments), Run(work / options.mode, arguments)
    for one in (reference, run):
        one.folder.mkdir(parents=True)
    began = time.monotonic()
    first = reference.complete()
    seconds = time.monotonic() - began
    print(f"reference: {len(reference.done)} jobs in {seconds:.0f} s", flush=True)
    began = time.monotonic()
    if options.mode == "kill":
        killed: list[str] = []
        # A run may end before its last moments; what is left of them is for the next one.
        while len(killed) < options.times:
            left = options.times - len(killed)
            draws = random.Random(options.seed + len(killed))
            more = kill(reference, run, moments(first, seconds, left, draws))
            if not more:
                sys.exit("no moment came before the run's end")
            killed += more
            finish(compare(reference, run))
            run = Run(work / f"kill_{len(killed)}", arguments)
            run.folder.mkdir()
        rules = Counter(", ".join(killed).split(", "))
        told = ", ".join(f"{rule} {number}" for rule, number in rules.most_common())
        print(f"{len(killed)} kills; by rule: {told}")
    else:
        modes = {"disk-full": disk_full, "read-only": read_only}
        modes[options.mode](reference, run, options.times, options.seed)
    print(f"{time.monotonic() - began:.0f} s after the reference run")
    if not options.keep:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
