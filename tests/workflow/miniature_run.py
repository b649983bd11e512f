"""The whole workflow in its smallest form, run once more by several tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
MINIATURE = PROJECT / "tests" / "workflow" / "miniature.yaml"


def snakemake(folder: Path, configs: list[Path], *arguments: str) -> tuple[int, str]:
    """Exit status and words of the workflow as ``configs`` say, in ``folder``."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
    command += ["--workflow-profile", str(PROJECT / "profiles" / "default")]
    command += ["--directory", str(folder), "--cores", "2", "--configfile", *map(str, configs)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def planned(words: str) -> dict[str, int]:
    """Jobs by rule of the table that a run begins with."""
    table = words.partition("Job stats:")[2].partition("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def run_miniature(folder: Path, config: Path = MINIATURE) -> None:
    """Run the whole workflow as ``config`` says, in ``folder``."""
    folder.mkdir(exist_ok=True)
    code, words = snakemake(folder, [config])
    assert code == 0, words[-4000:]
