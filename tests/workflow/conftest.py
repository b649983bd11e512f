"""What several tests of the workflow share."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from cluster_run import missing
from miniature_run import run_miniature


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the miniature run has finished; its record is kept as record.json."""
    folder = tmp_path_factory.mktemp("miniature") / "run"
    run_miniature(folder)
    (record,) = (folder / "results" / "miniature" / "runs").glob("*.json")
    (folder / "record.json").write_bytes(record.read_bytes())
    return folder


@pytest.fixture(scope="session")
def installed() -> None:
    """Skips where there is no SLURM to start or no executor for it."""
    if programs := missing():
        packages = "slurmctld slurmd slurm-client munge"
        pytest.skip(f"slurm: not installed: {programs} (apt-get install {packages})")
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("slurm: no snakemake-executor-plugin-slurm (requirements-slurm.txt)")
