"""How long Snakemake thinks about a large cohort before and after it is worked on.

Usage:
    python benchmarks/dry_run.py [--studies 2000 20000] [--series 3] [--files 25] [--shards 20]

Makes delivered cohorts of that many studies with empty images, and times on the real workflow:
a dry run before anything stands, the rule graph, a dry run and a real run with nothing to do
after all jobs have finished (their work replaced by ``tests/workflow/stand_in``), and the pictures
of ``draw_dag``, each with its peak memory and number of jobs; then what the fingerprints of code
and data cost within a dry run.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "scripts"))

from spinegrade.regions.lumbar_mri import LUMBAR_CELLS  # noqa: E402

DESCRIPTIONS = ("Sagittal T1", "Sagittal T2/STIR", "Axial T2")


def deliver(root: Path, studies: int, series: int, files: int) -> None:
    """A cohort in the competition's layout whose images are empty files, 25 points a study."""
    rows = [["study_id", "series_id", "series_description"]]
    points = [["study_id", "series_id", "instance_number", "condition", "level", "x", "y"]]
    labels = [["study_id", *(cell.column for cell in LUMBAR_CELLS)]]
    for study in map(str, range(10**6, 10**6 + studies)):
        labels.append([study, *["Normal/Mild"] * 25])
        for number in range(series):
            name = f"{study}{number}"
            rows.append([study, name, DESCRIPTIONS[number % 3]])
            folder = root / "train_images" / study / name
            folder.mkdir(parents=True)
            for file in range(files):
                os.close(os.open(folder / f"{file + 1}.dcm", os.O_CREAT | os.O_WRONLY))
        for place in range(25):
            level = f"L{place % 5 + 1}/{'L' + str(place % 5 + 2) if place % 5 < 4 else 'S1'}"
            points.append([study, f"{study}0", "1", "Spinal Canal Stenosis", level, "5", "6"])
    for name, table in (
        ("train.csv", labels),
        ("train_series_descriptions.csv", rows),
        ("train_label_coordinates.csv", points),
    ):
        with (root / name).open("w", newline="") as file:
            csv.writer(file).writerows(table)


def snakemake(folder: Path, *arguments: str, stand_in: bool = False) -> tuple[float, float, str]:
    """Seconds, peak MB of the Snakemake process and what it says."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
    command += ["--workflow-profile", str(PROJECT / "profiles" / "default"), "--cores", "2"]
    command += ["--configfile", "mine.yaml", "--directory", ".", *arguments]
    environment = dict(os.environ)
    if stand_in:
        environment["PYTHONPATH"] = str(PROJECT / "tests" / "workflow" / "stand_in")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit((done.stdout + done.stderr)[-3000:])
    peak = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024
    return seconds, peak, done.stdout + done.stderr


def jobs_in(words: str) -> str:
    found = re.search(r"^total\s+(\d+)", words, re.MULTILINE)
    return found[1] if found else "0"


def measure(studies: int, series: int, files: int, shards: int) -> None:
    work = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        deliver(work / "data", studies, series, files)
        (work / "mine.yaml").write_text(
            "cohort: {name: mine, kind: kaggle_rsna2024, root: data, folds: 5}\n"
            f"runtime: {{shards: {shards}}}\n"
        )
        print(f"{studies} studies, {studies * series * files} files, {shards} shards, 5 folds")
        for what, arguments, stand_in in (
            ("dry run, nothing stands", ("--dry-run",), False),
            ("rule graph", ("--rulegraph",), False),
            ("(all jobs, without their work)", (), True),
            ("dry run, nothing to do", ("--dry-run",), False),
            ("run, nothing to do", (), False),
            ("pictures of both graphs", ("--", "draw_dag"), False),
        ):
            seconds, peak, words = snakemake(work, *arguments, stand_in=stand_in)
            jobs = jobs_in(words)
            print(
                f"  {what:32s} {seconds:7.1f} s  peak {peak:5.0f} MB  {jobs:>4s} jobs", flush=True
            )
        fingerprints(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def fingerprints(work: Path) -> None:
    """What code fingerprints and the walk over the delivered cohort cost in this process."""
    from spinegrade.cohort.delivered import Delivered
    from spinegrade.runtime.fingerprint import code_fingerprint

    began = time.perf_counter()
    for script in sorted((PROJECT / "scripts").glob("*.py")):
        code_fingerprint(script.stem)
    print(f"  code fingerprints of every stage   {time.perf_counter() - began:7.2f} s")
    began = time.perf_counter()
    cohort = Delivered(str(work / "data"), 20, 5, 1)
    for shard in range(20):
        cohort.shard_digest(shard, "files", "series")
    for fold in range(5):
        cohort.training_digest(fold, "files", "series", "landmarks", "labels")
    print(f"  digests of the delivered studies   {time.perf_counter() - began:7.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--series", type=int, default=3)
    parser.add_argument("--files", type=int, default=25)
    parser.add_argument("--shards", type=int, default=20)
    options = parser.parse_args()
    for studies in options.studies:
        measure(studies, options.series, options.files, options.shards)


if __name__ == "__main__":
    main()
