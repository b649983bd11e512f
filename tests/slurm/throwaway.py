"""A throw-away SLURM of one node: real daemons as this process's own children, gone when it ends.

    python tests/slurm/throwaway.py --folder NEW_FOLDER                 # until its input ends
    python tests/slurm/throwaway.py -- snakemake --workflow-profile profiles/slurm

With a command it runs that command inside the cluster and ends with its exit status. Without one
it prints the cluster's environment as one line of JSON and serves until its standard input ends,
its parent dies or it is told to stop. Munge, slurmctld and slurmd keep everything in one folder
and listen on 127.0.0.1 alone; a SLURM that the machine may have is neither read nor touched. The
GPUs are declared, not there: jobs get them allotted and see CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from cluster import PACKAGES, Cluster, ClusterError, missing_programs
from processes import adopt_orphans, die_with_parent


class Stopped(BaseException):
    """A signal, whose number this carries, asked for the end."""


@contextmanager
def running(folder: Path, gpus: int, cpus: int, memory_mb: int) -> Iterator[Cluster]:
    """A started cluster that is stopped on every way out of the block."""
    cluster = Cluster(folder, gpus, cpus, memory_mb)
    adopt_orphans()
    die_with_parent(signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _raise_stopped)
    try:
        cluster.start()
        yield cluster
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        cluster.stop()


def _raise_stopped(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


def run_command(cluster: Cluster, command: list[str]) -> int:
    """Run ``command`` inside the cluster; returns its exit status."""
    # A terminal's Ctrl-C reaches the command by itself, and the command decides what to do.
    signal.signal(signal.SIGINT, lambda *_: None)
    process = subprocess.Popen(
        command, env=cluster.environment, preexec_fn=lambda: die_with_parent(signal.SIGINT)
    )
    try:
        while process.pid not in cluster.ended:
            cluster.look_after()
            time.sleep(0.1)
    except Stopped:
        process.send_signal(signal.SIGINT)
        cluster.wait_while(lambda: process.pid not in cluster.ended, 15.0)
        raise
    return cluster.ended[process.pid]


def serve(cluster: Cluster) -> int:
    """Print the environment and look after the daemons until standard input ends."""
    print(json.dumps(cluster.environment), flush=True)
    while True:
        cluster.look_after()
        if select.select([sys.stdin], [], [], 0.2)[0] and not os.read(sys.stdin.fileno(), 4096):
            return 0


def main() -> int:
    """Start, serve or run, stop."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="new or empty; kept. Default: one that is not")
    parser.add_argument("--gpus", type=int, default=2, help="GPUs to declare")
    parser.add_argument("--cpus", type=int, default=24, help="CPUs to declare")
    parser.add_argument("--memory-mb", type=int, default=64000, help="memory to declare")
    parser.add_argument("--missing", action="store_true", help="name what is not installed")
    parser.add_argument("command", nargs="*", help="after --: what to run inside the cluster")
    given = parser.parse_args()
    missing = missing_programs()
    if given.missing:
        print(" ".join(missing))
        return 0
    if missing:
        print(f"not installed: {', '.join(missing)} (packages {PACKAGES})", file=sys.stderr)
        return 2
    folder = given.folder or Path(tempfile.mkdtemp(prefix="throwaway-slurm-"))
    try:
        with running(folder, given.gpus, given.cpus, given.memory_mb) as cluster:
            return run_command(cluster, given.command) if given.command else serve(cluster)
    except ClusterError as error:
        print(error, file=sys.stderr)
        for log in sorted((folder / "log").glob("*")):
            print(f"--- {log}", *log.read_text().splitlines()[-10:], sep="\n", file=sys.stderr)
        return 1
    except Stopped as stopped:
        return 128 + stopped.args[0]
    finally:
        if given.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
