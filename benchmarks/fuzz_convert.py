"""Damaged series through conversion: nothing but rows may come out, soon and in little memory.

Usage:
    python benchmarks/fuzz_convert.py [--minutes 10] [--seed 1] [--keep FOLDER] [--replay FILE]

Each case is a whole series in some transfer syntax, damaged (see fuzz_cases.py), surveyed by
its headers, then read, planned, decoded and written in a process of its own. A fault is: an
exception that leaves the room, rows that the tables or JSON refuse, a volume that does not
open as its row says, a file written elsewhere, text of a header in an output or the log, a
process that dies, works for five seconds or takes a gigabyte. Each is kept in FOLDER as a zip
file that ``--replay`` runs again. Exit status 1 if there was one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import psutil
from fuzz_cases import Case, make_case
from fuzz_seeds import seeds
from fuzz_worker import Outcome, Rows, refused_table, table_faults, work, write_files

MOST_SECONDS = 5.0
_MOST_WAITING = 10
_LOT = 200


class Runner:
    """A worker process and the folder in which it converts; started again when it dies."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        place = memory if os.access(memory, os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=place)).resolve()
        self._start()

    def _start(self) -> None:
        # Forked, so that what a test has planted is in the worker too.
        context = get_context("fork")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=work, args=(other, self.folder), daemon=True)
        self._process.start()
        other.close()
        self._connection.recv()

    def run(self, case: Case) -> Outcome:
        """What ``case`` comes to; a worker that dies or hangs is a fault of the case."""
        write_files(case.files, self.folder)
        began = time.perf_counter()
        self._connection.send(case.plane)
        try:
            if self._answers():
                return self._connection.recv()
            outcome = Outcome(kind="hang", text=f"no answer after {MOST_SECONDS:.0f} s")
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode or 0
            text = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            outcome = Outcome(kind="death", text=text)
        outcome.seconds = time.perf_counter() - began
        self._stop()
        self._start()
        return outcome

    def _answers(self) -> bool:
        """Wait MOST_SECONDS of the worker's own time, since other work may share its core."""
        began = time.perf_counter()
        worker = psutil.Process(self._process.pid)
        spent = sum(worker.cpu_times()[:2])
        while not self._connection.poll(0.2):
            with contextlib.suppress(psutil.Error):  # it has died: the next poll says so
                if sum(worker.cpu_times()[:2]) - spent > MOST_SECONDS:
                    return False
            if time.perf_counter() - began > _MOST_WAITING * MOST_SECONDS:
                return False
        return True

    def _stop(self) -> None:
        self._connection.close()
        if self._process.is_alive():
            self._process.kill()
        self._process.join()

    def close(self) -> None:
        """End the worker and remove its folder."""
        self._stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def save(case: Case, path: Path, outcome: Outcome) -> None:
    """Keep a case as a zip file: its files as 0, 1, ... and their names in case.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        told = {"plane": case.plane, "story": case.story, "kind": outcome.kind}
        told |= {"text": outcome.text, "names": [name.hex() for name in case.files]}
        archive.writestr("case.json", json.dumps(told, indent=1))
        for number, data in enumerate(case.files.values()):
            archive.writestr(str(number), data)


def load(path: Path) -> Case:
    """A case that ``save`` has kept."""
    with zipfile.ZipFile(path) as archive:
        told = json.loads(archive.read("case.json"))
        names = [bytes.fromhex(name) for name in told["names"]]
        files = {name: archive.read(str(number)) for number, name in enumerate(names)}
    return Case(told["plane"], files, told["story"])


@dataclass
class Report:
    """What a run came to."""

    cases: int = 0
    seconds: float = 0.0
    codes: Counter[str] = field(default_factory=Counter)
    volumes: int = 0
    faults: list[tuple[int, str, Outcome]] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)
    peak: tuple[float, int] = (0.0, -1)

    def add(self, number: int, outcome: Outcome) -> None:
        """Count one case."""
        self.cases += 1
        self.codes.update(set(outcome.codes))
        self.volumes += outcome.volumes
        self.slowest = max(self.slowest, (outcome.seconds, number))
        self.peak = max(self.peak, (outcome.peak_mb, number))

    def lines(self) -> list[str]:
        """The report as text."""
        rate = self.cases / max(self.seconds, 1e-9)
        alike = Counter((o.kind, o.text.split(": ")[0]) for _, _, o in self.faults)
        return [
            f"{self.cases} cases in {self.seconds:.0f} s, {rate:.0f} a second",
            f"{self.volumes} volumes; cases by code: {dict(self.codes.most_common())}",
            f"slowest: {self.slowest[0]:.2f} s (case {self.slowest[1]})",
            f"peak memory above the start: {self.peak[0]:.0f} MB (case {self.peak[1]})",
            f"{len(self.faults)} faults",
            *(f"  {count:4d} x {kind}: {text}" for (kind, text), count in alike.most_common()),
        ]


def fuzz(seconds: float, seed: int, keep: Path | None = None, most_cases: int = 10**9) -> Report:
    """Run the cases 0, 1, ... of ``seed`` for that long, ``most_cases`` at most."""
    seeds()  # before the clock and the worker start
    report, runner = Report(), Runner()
    lot: list[tuple[int, Rows]] = []

    def note(number: int, outcome: Outcome) -> None:
        case = make_case(seed, number)
        report.faults.append((number, case.story, outcome))
        if keep is not None:
            name = f"seed{seed}_case{number}_{outcome.kind.replace(' ', '_')}.zip"
            save(case, keep / name, outcome)

    def check_lot() -> None:
        for number, text in table_faults(lot):
            note(number, Outcome(kind="table", text=text))
        lot.clear()

    began = time.perf_counter()
    try:
        while time.perf_counter() - began < seconds and report.cases < most_cases:
            number = report.cases
            outcome = runner.run(make_case(seed, number))
            report.add(number, outcome)
            if outcome.kind:
                note(number, outcome)
            else:
                lot.append((number, outcome.rows))
            if len(lot) == _LOT:
                check_lot()
        check_lot()
    finally:
        runner.close()
    report.seconds = time.perf_counter() - began
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("results/fuzz_convert"))
    parser.add_argument("--replay", type=Path)
    options = parser.parse_args()
    if options.replay:
        case, runner = load(options.replay), Runner()
        outcome = runner.run(case)
        runner.close()
        if not outcome.kind and (text := refused_table([(0, outcome.rows)])):
            outcome.kind, outcome.text = "table", text
        print(f"{case.story}\n{outcome}")
        return int(bool(outcome.kind))
    report = fuzz(60 * options.minutes, options.seed, options.keep)
    print("\n".join(report.lines()))
    for number, story, outcome in report.faults[:50]:
        print(f"  case {number} ({story}): {outcome.kind}: {outcome.text}")
    return int(bool(report.faults))


if __name__ == "__main__":
    sys.exit(main())
