"""How many files a second the check of a cohort reads, all its work included.

Usage:
    python benchmarks/check_speed.py [--folder ROOT] [--copies 32] [--rounds 5] [--processes 2]

ROOT holds studies in the layout of the RSNA 2024 data (train.csv, train_images/ ...); without
it a phantom cohort of --studies studies is made. It is copied into memory (/dev/shm where there
is one), and its train studies appear there --copies times under ids of their own, as hard links.
Each round, from a warm cache, checks the whole cohort in one process, then in --processes
processes (their start included), and reads all headers with pydicom, nothing else done with
them. Timed is all that the stage does: series table, headers, verdicts, points, tables, page.
Printed are files a second a core, by the clock and by processor time (what a core that nobody
else uses would reach), medians over the rounds with the extremes; then the peak memory of a
process that checks the cohort, and of one of its workers.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import platform
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import pydicom
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from spinegrade.annotations.codes import ADVICE
from spinegrade.cohort.index import index_cohort
from spinegrade.cohort.layout import REQUIRED, TRAIN_IMAGES, csv_path
from spinegrade.convert.refusals import REFUSALS
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.survey import LEAST_FILES_A_PROCESS, survey_with_places
from spinegrade.convert.survey_landmarks import survey_landmarks
from spinegrade.report.check_annotations import CheckedAnnotations
from spinegrade.report.check_page import CheckedCohort, write_page
from spinegrade.tables.annotations import ANNOTATIONS
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.landmarks import LANDMARKS
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.series import SERIES
from spinegrade.tables.studies import STUDIES
from spinegrade.tables.verdicts import VERDICTS

PROJECT = Path(__file__).resolve().parents[1]


def make_phantom(folder: Path, studies: int, processes: int) -> None:
    # Imported here: the processes whose memory is told make no phantom.
    from spinegrade.phantom.cohort import write_cohort
    from spinegrade.phantom.study import PhantomSettings

    settings = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())["phantom"]
    settings |= {"studies": studies, "test_studies": 0}
    write_cohort(PhantomSettings.from_config(settings), folder, processes)


def multiply(given: Path, target: Path, copies: int) -> None:
    """The train studies of ``given`` under ``target``, ``copies`` times under other ids."""
    for name in REQUIRED:
        table = csv_path(given, name)
        assert table is not None, f"{given} lacks {name}"
        opener = gzip.open if table.suffix == ".gz" else open
        with opener(table, "rt", newline="") as file:
            head, *rows = csv.reader(file)
        with (target / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(head)
            for copy in range(copies):
                writer.writerows([f"{copy}{row[0]}", *row[1:]] for row in rows)
    images = target / TRAIN_IMAGES
    for study in sorted((given / TRAIN_IMAGES).iterdir()):
        first = images / f"0{study.name}"
        shutil.copytree(study, first)
        for copy in range(1, copies):
            shutil.copytree(first, images / f"{copy}{study.name}", copy_function=os.link)


def check(cohort: Path, root: Path, out: Path, processes: int) -> None:
    """What the stage does, file by file."""
    settings = ConvertSettings()
    surveyed = survey_with_places(cohort / "series.parquet", root, settings, processes)
    series = read_table(cohort / "series.parquet", SERIES)
    landmarks = read_table(cohort / "landmarks.parquet", LANDMARKS)
    points = survey_landmarks(landmarks, series, surveyed, "impossible")
    verdicts, rejected, told = surveyed.verdicts, surveyed.rejected, points.annotations
    write_table(out / "verdicts.parquet", verdicts, VERDICTS)
    write_table(out / "rejected.parquet", rejected, REJECTED)
    write_table(out / "annotations.parquet", told, ANNOTATIONS)
    studies = read_table(cohort / "studies.parquet", STUDIES)
    frames = points.frames
    annotations = CheckedAnnotations(
        points.points, told, frames.studies, len(frames.differing), ADVICE
    )
    checked = CheckedCohort(
        verdicts, rejected, studies, REFUSALS, asdict(settings), annotations=annotations
    )
    write_page(str(out / "check_cohort.html"), checked, "benchmark")


def with_pydicom(files: list[Path]) -> None:
    for file in files:
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
        _ = dataset.ImagePositionPatient, dataset.Rows


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock, and of processor time with that of finished workers."""
    began, before = time.perf_counter(), processor_seconds()
    work()
    return time.perf_counter() - began, processor_seconds() - before


def processor_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_megabytes(cohort: Path, root: Path, out: Path, processes: int) -> tuple[float, float]:
    """Peak memory of this process, which checks the cohort, and of its largest worker."""
    check(cohort, root, out, processes)
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, worker = (one.ru_maxrss / 1024 for one in used)
    return own, worker


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "?")
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--studies", type=int, default=12)
    parser.add_argument("--copies", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    memory = Path("/dev/shm")
    work = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        given = options.folder or work / "phantom"
        if options.folder is None:
            make_phantom(given, options.studies, options.processes)
        root = work / "cohort"
        root.mkdir()
        multiply(given, root, options.copies)
        measure(root, work, options.rounds, options.processes)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def measure(root: Path, work: Path, rounds: int, processes: int) -> None:
    tables, out = work / "tables", work / "out"
    index_cohort(root, 1, tables)
    files = sorted((root / TRAIN_IMAGES).rglob("*.dcm"))
    methods: dict[str, tuple[int, Callable[[], None]]] = {
        "one process": (1, lambda: check(tables, root, out, 1)),
        "pydicom, headers only": (1, lambda: with_pydicom(files)),
    }
    if len(files) >= processes * LEAST_FILES_A_PROCESS:
        many = (processes, lambda: check(tables, root, out, processes))
        methods[f"{processes} processes"] = many
    else:
        print(f"{len(files)} files are too few for {processes} processes")
    check(tables, root, out, 1)  # imports and caches warm
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, (_, method) in methods.items():
            seconds[name].append(timed(method))
    print(machine())
    verdicts = read_table(out / "verdicts.parquet", VERDICTS)
    counts = ", ".join(f"{n} {word}" for word, n in verdicts["verdict"].value_counts().items())
    print(f"{len(files)} files, {len(verdicts)} series: {counts}")
    for name, (cores, _) in methods.items():
        clock = [len(files) / cores / by_clock for by_clock, _ in seconds[name]]
        processor = [len(files) / by_processor for _, by_processor in seconds[name]]
        print(f"  {name:22s} {spread(clock)} by the clock, {spread(processor)} by processor time")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        own, worker = pool.submit(peak_megabytes, tables, root, out, processes).result()
    print(f"  peak memory of the process {own:.0f} MB, of a worker {worker:.0f} MB")


def spread(rates: list[float]) -> str:
    return f"{statistics.median(rates):6.0f} ({min(rates):.0f} to {max(rates):.0f})"


if __name__ == "__main__":
    main()
