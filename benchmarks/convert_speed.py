"""How fast series become volumes, against other converters and against reading the bytes.

Usage:
    pip install -r benchmarks/requirements.txt    # the peers dicom2nifti and dcm2niix
    python benchmarks/convert_speed.py [FOLDER ...] [--copies 3] [--rounds 7]

FOLDER holds one study, a folder of DICOM files a series, such as train_images/<study> of the
RSNA 2024 data; without one, phantom studies at full matrix are made. Each study is copied into
memory (/dev/shm where there is one) as RLE Lossless, what the competition's studies are, and
uncompressed; every method turns the same warm files into uncompressed volumes on one core,
in rounds that interleave the methods. First each method's volumes are held against what pydicom
reads: every slice's voxels, at the place where its header says that it lies. A method's MB/s
(decoded) counts the series that it converted and the time that these took, a wrong volume
included and named; refusals are no speed. A peer absent from the environment is named.

Then this room with two processes against one, beside what two processes of plain arithmetic reach
on this machine at that moment, and the peak memory of a process that converts one series.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import contextlib
import importlib.metadata
import json
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from convert_inputs import (
    TrueSlice,
    Verdict,
    judge,
    long_series,
    phantom_studies,
    planes_of,
    prepare,
    true_slices,
)
from convert_methods import Method, methods, spinegrade

PROJECT = Path(__file__).resolve().parents[1]
VERSIONS = ("numpy", "imagecodecs", "pydicom", "simpleitk", "dicom2nifti", "dcm2niix")
MEMORY = {"60 axial slices of 512 x 512": (60, 512), "192 slices of 512 x 512": (192, 512)}
CALIBRATION_STEPS = 3_000_000


@dataclass
class Speeds:
    """MB/s decoded by the clock, and MB a second of processor time, round by round."""

    by_clock: list[float] = field(default_factory=list)
    by_processor: list[float] = field(default_factory=list)


def processor_seconds() -> float:
    """Of this process and of the programs that it has started and seen end."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def timed(
    method: Method, study: Path, verdicts: dict[str, Verdict], out: Path, planes: dict[str, str]
) -> tuple[float, float]:
    """Seconds, and seconds of the processor, for the series of a study that are converted."""
    folders = [study / name for name in verdicts]
    seconds = spent = 0.0
    for call in [folders] if method.by_study else [[folder] for folder in folders]:
        target = out / study.name / ("" if method.by_study else call[0].name)
        target.mkdir(parents=True)
        processor, clock = processor_seconds(), time.perf_counter()
        with contextlib.suppress(Exception):  # judged before: a refusal, which is not counted
            method.run(call, target, planes)
        if not method.writes or any(verdicts[folder.name].present for folder in call):
            seconds += time.perf_counter() - clock
            spent += processor_seconds() - processor
    return seconds, spent


def compare(kind: str, studies: list[Path], work: Path, rounds: int) -> None:
    """Judge every method on each study, time all in turn, print both."""
    truths, planes = {}, {}
    for study in studies:
        if study.name.endswith("_0"):
            truth = {item.name: true_slices(item) for item in sorted(study.iterdir())}
            truths[name_of(study)] = truth
            planes |= planes_of(truth)
    megabytes = {
        name: {
            series: sum(one.pixels.nbytes for one in slices) / 1e6 for series, slices in t.items()
        }
        for name, t in truths.items()
    }
    total = sum(sum(sizes.values()) for sizes in megabytes.values())
    print(
        f"\n{kind}: {sum(map(len, truths.values()))} series of {len(truths)} studies, "
        f"{total:.0f} MB decoded, in {len(studies) // len(truths)} copies"
    )
    found = methods()
    verdicts = {method.name: _judged(method, studies, truths, planes) for method in found}
    if kind == "as delivered":
        return
    speeds = {method.name: Speeds() for method in found}
    for _ in range(rounds):
        for method in found:
            converted = seconds = spent = 0.0
            for study in studies:
                mine = verdicts[method.name][name_of(study)]
                for series, verdict in mine.items():
                    if verdict.present or not method.writes:
                        converted += megabytes[name_of(study)][series]
                taken = timed(method, study, mine, work / "out", planes)
                seconds, spent = seconds + taken[0], spent + taken[1]
            shutil.rmtree(work / "out")
            speeds[method.name].by_clock.append(converted / seconds if seconds else 0.0)
            speeds[method.name].by_processor.append(converted / spent if spent else 0.0)
    _print_speeds(found, speeds)
    two_processes(studies, planes, work / "out", rounds)


def name_of(copy: Path) -> str:
    """The study that a folder is a copy of."""
    return copy.name.rpartition("_")[0]


def _judged(
    method: Method,
    studies: list[Path],
    truths: dict[str, dict[str, list[TrueSlice]]],
    planes: dict[str, str],
) -> dict[str, dict[str, Verdict]]:
    """Verdicts by study and series; prints what is wrong or refused."""
    verdicts = {}
    for study in studies:
        if study.name.endswith("_0"):
            name = name_of(study)
            verdicts[name] = judge(method, study, truths[name], planes)
    if not method.writes:
        return verdicts
    every = [(name, item) for study in verdicts.values() for name, item in study.items()]
    placed = sum(item.placed for _, item in every)
    print(f"  {method.name}: {placed} of {sum(i.slices for _, i in every)} slices right")
    for name, item in every:
        if item.placed == item.slices:
            continue
        if not item.present:
            print(f"    series {name} refused: {item.refusal}")
        else:
            lost = item.slices - item.present
            wrong = f"{item.slices - item.placed - lost} of {item.slices} slices misplaced"
            print(f"    series {name} WRONG: {wrong}, {lost} with other voxels or lost")
    return verdicts


def _print_speeds(found: list[Method], speeds: dict[str, Speeds]) -> None:
    """A line a method: by the clock, by processor time, and how many times it spinegrade is."""
    peers = [method.name for method in found if method.peer]
    best = max(peers, key=lambda name: statistics.median(speeds[name].by_clock))
    print(f"  {'MB/s decoded, one core':26s} {'clock (min..max)':>18s}  processor  spinegrade is")
    mine = speeds["spinegrade"]
    for method in found:
        theirs = speeds[method.name]
        clock, processor = map(statistics.median, (theirs.by_clock, theirs.by_processor))
        line = f"  {method.name:26s} {clock:6.0f} {spread(theirs.by_clock, '.0f'):>12s}"
        line += f" {processor:9.0f}"
        if method.name != "spinegrade" and clock > 0:
            ratios = [a / b for a, b in zip(mine.by_clock, theirs.by_clock, strict=True)]
            busy = statistics.median(mine.by_processor) / processor
            line += f"   x {statistics.median(ratios):.2f} ({spread(ratios, '.2f')})"
            line += f", by processor x {busy:.2f}"
            line += "  <- the fastest peer" if method.name == best else ""
        print(line)


def spread(values: list[float], form: str) -> str:
    return f"{min(values):{form}}..{max(values):{form}}"


def two_processes(studies: list[Path], planes: dict[str, str], out: Path, rounds: int) -> None:
    """This room with two processes against one on the same files, beside plain arithmetic."""
    jobs = [item for study in studies for item in sorted(study.iterdir())]
    context = get_context("spawn")
    gains, reachable, loads = [], [], []
    with ProcessPoolExecutor(1, context) as one, ProcessPoolExecutor(2, context) as two:
        convert = partial(_convert_one, planes=planes, out=out)
        for pool in (one, two):  # imports and memory warm in every process
            list(pool.map(convert, jobs))
        for _ in range(rounds):
            for work, items, values in (
                (convert, jobs, gains),
                (arithmetic, [CALIBRATION_STEPS] * 4, reachable),
            ):
                alone, both = (_seconds(pool, work, items) for pool in (one, two))
                values.append(alone / both)
            loads.append(os.getloadavg()[0])
    shutil.rmtree(out)
    print(f"  two processes are x {statistics.median(gains):.2f} ({spread(gains, '.2f')}) one")
    print(
        f"    arithmetic then: x {statistics.median(reachable):.2f} ({spread(reachable, '.2f')}), "
        f"load of the machine {spread(loads, '.1f')} on {os.cpu_count()} cores"
    )


def _seconds(pool: ProcessPoolExecutor, work: Callable[..., None], items: list) -> float:
    began = time.perf_counter()
    list(pool.map(work, items))
    return time.perf_counter() - began


def _convert_one(series: Path, planes: dict[str, str], out: Path) -> None:
    target = out / series.parent.name
    target.mkdir(parents=True, exist_ok=True)
    spinegrade([series], target, planes)


def arithmetic(steps: int) -> None:
    """A loop that needs a core and nothing else."""
    value = 1
    for _ in range(steps):
        value = value * 1103515245 % 2147483648


def memory(studies: list[Path], work: Path) -> None:
    """Peak memory of a fresh process that converts one series."""
    template = next(item for item in sorted(studies[0].rglob("*")) if item.is_file())
    for title, (count, size) in MEMORY.items():
        folder = long_series(template, work / "memory" / f"{count}", count, size)
        command = [sys.executable, str(PROJECT / "benchmarks" / "convert_memory.py")]
        answer = subprocess.run(
            [*command, str(folder), "axial"], check=True, capture_output=True, text=True
        )
        found = json.loads(answer.stdout)
        assert found["slices"] == count
        decoded = count * size * size * 2 / 1e6
        print(
            f"peak memory, {title} ({decoded:.0f} MB decoded): {found['peak_mb']:.0f} MB, of which "
            f"{found['imports_mb']:.0f} MB are imports"
        )


def machine() -> Iterator[str]:
    """Processor, cores, versions."""
    names = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    model = names[0].split(":")[1].strip() if names else platform.processor()
    yield f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    versions = [f"Python {platform.python_version()}"]
    for name in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    yield ", ".join(versions)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--copies", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--phantoms", type=int, default=2, help="where no folder is given")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    shared = Path("/dev/shm")
    work = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
    try:
        print(*machine(), sep="\n")
        given = options.folders or phantom_studies(work / "phantom", options.phantoms)
        prepared = prepare(given, work, options.copies)
        for kind, studies in prepared.items():
            compare(kind, studies, work, options.rounds)
        print()
        memory(prepared["RLE Lossless"], work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
