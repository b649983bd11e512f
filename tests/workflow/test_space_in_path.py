"""A clone whose path holds a space, with its environment below it, works as any other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_invalidation import copy_project

pytestmark = pytest.mark.workflow


def test_jobs_start_where_the_path_of_the_interpreter_holds_a_space(tmp_path: Path) -> None:
    clone = tmp_path / "My Projects (new)" / "it's here"
    clone.mkdir(parents=True)
    copy_project(clone)
    (clone / ".venv").symlink_to(sys.prefix)
    python = clone / ".venv" / "bin" / "python"
    command = [str(python), "-m", "snakemake", "--cores", "1", "--", "draw_dag"]
    stand_in = str(Path(__file__).parent / "stand_in")
    environment = {**os.environ, "PYTHONPATH": stand_in}
    done = subprocess.run(
        command, cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (clone / "results/phantom_lumbar/dag/rule_graph.svg").exists()
