"""Wall time and peak memory of the main job from nothing, and whether runs agree byte for byte.

    python benchmarks/demo_run.py                        # one run on all cores
    python benchmarks/demo_run.py --cores 2 --cores 1    # two clean runs, submissions compared

Each run works in an empty folder of its own (results are not shared). Memory is the sum of the
proportional set sizes of Snakemake and all its descendants, read every half second.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

PROJECT = Path(__file__).resolve().parents[1]
SUBMISSION = Path("results/phantom_lumbar/combine/submission.csv")


def memory_mb(process: psutil.Process) -> float:
    """Proportional set size of a process and its descendants, in MB (shared pages once)."""
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for member in family:
        try:
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 2**20


def run(cores: int, folder: Path, arguments: list[str]) -> tuple[float, float, str]:
    """Run the workflow in ``folder``: seconds, peak MB, SHA-256 of submission.csv."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
    command += ["--directory", str(folder), "--cores", str(cores), "--resources", "gpu=2"]
    command += ["--workflow-profile", str(PROJECT / "profiles" / "default"), *arguments]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    began = time.monotonic()
    with (folder / "snakemake.log").open("w") as log:
        process = psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, memory_mb(process))
            time.sleep(0.5)
    seconds = time.monotonic() - began
    if process.returncode != 0:
        sys.exit((folder / "snakemake.log").read_text()[-4000:])
    digest = hashlib.sha256((folder / SUBMISSION).read_bytes()).hexdigest()
    return seconds, peak, digest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, action="append", help="once a run; repeat to compare")
    parser.add_argument("snakemake", nargs="*", help="further arguments for snakemake, after --")
    options = parser.parse_args()
    digests = set()
    for cores in options.cores or [os.cpu_count() or 1]:
        with tempfile.TemporaryDirectory() as folder:
            seconds, peak, digest = run(cores, Path(folder), options.snakemake)
        print(f"cores {cores}: {seconds:.0f} s, peak {peak:.0f} MB, submission {digest[:16]}")
        digests.add(digest)
    if len(digests) > 1:
        sys.exit("the submissions differ")


if __name__ == "__main__":
    main()
