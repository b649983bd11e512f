"""The command ``spinegrade``: what can be done with the workflow, told from its files.

It runs nothing by itself but ``status``. Without torch, so that it answers at once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from spinegrade import __version__
from spinegrade.losses.registry import LOSSES
from spinegrade.models.registry import MODELS
from spinegrade.training.kinds import ROOMS, room_of_kind

PROJECT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "the embedded phantom cohort, or the one of workflow_config.yaml": "snakemake --cores 2",
    "a cohort and settings of your own": "snakemake --cores 24 --resources gpu=2 "
    "--configfile mine.yaml",
    "what would run, and why": "snakemake --cores 2 --dry-run",
    "headers and tables only: what will be left out": "snakemake check_cohort --cores 8 "
    "--configfile mine.yaml",
    "the graph of rules as a picture": "snakemake draw_dag --cores 1",
    "a published system": "snakemake one_stage --cores 2 "
    "--configfile resources/systems/one_stage_small.yaml",
    "on a cluster": "snakemake --workflow-profile profiles/slurm --configfile mine.yaml",
}
"""What is done with it, and the command line that does it, in the project's folder."""


def recipes() -> dict[str, str]:
    """By file, relative to the project, the first sentence of each recipe's opening comment."""
    found = {}
    for path in sorted((PROJECT / "resources" / "systems").glob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        opening = []
        for line in lines:
            if not line.startswith("#"):
                break
            opening.append(line.removeprefix("#").strip())
        words = " ".join(opening)
        found[str(path.relative_to(PROJECT))] = words.split(". ")[0].rstrip(".")
    return found


def names() -> dict[str, list[str]]:
    """What a configuration may name: the kinds of learner by room, the networks, the losses."""
    kinds = {
        f"kinds of {what}": [kind for kind, its in room_of_kind().items() if its == room]
        for room, what in ROOMS.items()
    }
    return {**kinds, "networks": MODELS.names(), "losses": LOSSES.names()}


def _indented(lines: Sequence[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)


def _overview() -> str:
    done = [line for what, how in COMMANDS.items() for line in (f"{what}:", f"    {how}")]
    return f"In the project's folder ({PROJECT}):\n{_indented(done)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spinegrade",
        description="Spine imaging studies to graded findings: one Snakemake workflow.",
        epilog=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"spinegrade {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("systems", help="the recipes of published systems, one line each")
    commands.add_parser("names", help="the kinds of learner, networks and losses that there are")
    commands.add_parser("status", help="how far a run is; status --help has its options")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is asked for; the exit status, 2 for an unknown command."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["status"]:
        tool = PROJECT / "scripts" / "tools" / "status.py"
        return subprocess.run([sys.executable, str(tool), *given[1:]], check=False).returncode
    parser = _parser()
    asked = parser.parse_args(given)
    if asked.command == "systems":
        for file, words in recipes().items():
            print(f"{file}\n    {words}")
    elif asked.command == "names":
        for what, found in names().items():
            print(f"{what}: {', '.join(found)}")
    else:
        parser.print_help()
    return 0


if __name__ == "__main__":
    sys.exit(main())
