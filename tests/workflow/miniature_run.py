"""The whole workflow in its smallest form, run once more by several tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
MINIATURE = PROJECT / "tests" / "workflow" / "miniature.yaml"


def run_miniature(folder: Path, config: Path = MINIATURE) -> None:
    """Run the whole workflow as ``config`` says, in ``folder``."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
    command += ["--workflow-profile", str(PROJECT / "profiles" / "default")]
    command += ["--directory", str(folder), "--cores", "2", "--configfile", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
