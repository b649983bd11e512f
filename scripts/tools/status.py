"""How far a run is: jobs running (epoch, loss, time left), waiting, finished, failed, dead.

From the working folder, while a run works or later, on any machine that sees its results:

    python scripts/tools/status.py                        # the run begun last under results/
    python scripts/tools/status.py results/rsna2024 --watch
    python scripts/tools/status.py results/rsna2024 --json
    python scripts/tools/status.py results/rsna2024 --runs
    python scripts/tools/status.py results/rsna2024 --config > again.yaml

``--runs`` lists the recorded runs and which of them made each output. ``--config`` writes the
configuration of the run that made submission.csv, else of the last one, or of ``--config RUN``,
to repeat it with ``snakemake --configfile again.yaml``. ``--release`` declares a run dead that was
killed where nobody here can see it. Exit codes: 0, 1 for a run that failed or was killed, 2 for a
refusal.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.files import read_json
from spinegrade.runtime.made_note import made_by
from spinegrade.runtime.run_lock import NAME, read_record, release_dead
from spinegrade.runtime.run_record import read_run_config, record_file, runs_in
from spinegrade.runtime.run_view import read_run, table_of

SUBMISSION = "combine/submission.csv"


def begun_last() -> Path:
    """The results folder under results/ whose run began last."""
    records = {lock.parent: read_record(lock.parent) for lock in Path("results").glob(f"*/{NAME}")}
    began = {folder: record["began"] for folder, record in records.items() if record}
    if not began:
        raise SpinegradeError(
            "no run has left a trace under results/ here: name a results folder, or start this "
            "in the folder that the workflow runs in"
        )
    return max(began, key=lambda folder: began[folder])


def show(results: Path, as_json: bool) -> str:
    """Print how the run on ``results`` stands; returns its state."""
    run = read_run(results)
    if run is None:
        raise SpinegradeError(f"{results}: no run has left a trace there")
    print(json.dumps(run, indent=2) if as_json else table_of(run), flush=True)
    return run["state"]


def show_runs(results: Path) -> None:
    """Print the recorded runs, and by output the one that made it."""
    for run in runs_in(results):
        known = read_json(record_file(results, run))
        print(f"{run}  {known['outcome']:<8} {known['command']}")
    print()
    for output, run in sorted(made_by(results).items()):
        print(f"{run or 'no run on record':<21} {output}")


def config_of(results: Path, run: str) -> dict[str, Any]:
    """The configuration of ``run``, or where that is empty, of the one that repeats the results."""
    runs = runs_in(results)
    if not runs:
        raise SpinegradeError(f"{results}: no run has left a record there (runs/)")
    if run and run not in runs:
        raise SpinegradeError(f"{results}: no run {run!r} is on record; runs: {', '.join(runs)}")
    maker = made_by(results).get(SUBMISSION)
    config = read_run_config(results, run or (maker if maker in runs else runs[-1]))
    assert config is not None, "the run is on record"
    return config


def main() -> int:
    """Parse the command line and do what it asks."""
    parser = argparse.ArgumentParser(description="How far a run of the workflow is.")
    parser.add_argument("results", nargs="?", type=Path, help="such as results/phantom_lumbar")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--json", action="store_true", help="for programs")
    what.add_argument(
        "--watch", nargs="?", type=float, const=5.0, metavar="SECONDS", help="again and again"
    )
    what.add_argument("--runs", action="store_true", help="all runs, and which made what")
    what.add_argument(
        "--config", nargs="?", const="", metavar="RUN", help="a run's configuration, as YAML"
    )
    what.add_argument("--release", action="store_true", help="declare a run dead")
    given = parser.parse_args()
    try:
        results = given.results or begun_last()
        if given.release:
            print(release_dead(results))
            return 0
        if given.runs:
            show_runs(results)
            return 0
        if given.config is not None:
            config = config_of(results, given.config)
            print(yaml.safe_dump(config, sort_keys=False), end="")
            return 0
        state = show(results, given.json)
        while given.watch and state in ("running", "unknown"):
            time.sleep(given.watch)
            print("\033[2J\033[H", end="")
            state = show(results, given.json)
    except SpinegradeError as error:
        print(f"{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return int(state in ("failed", "killed"))


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `... | head` is no error
    sys.exit(main())
