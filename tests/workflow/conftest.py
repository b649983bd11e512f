"""What several tests of the workflow share."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniature_run import run_miniature


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the miniature run has finished; its record is kept as record.json."""
    folder = tmp_path_factory.mktemp("miniature") / "run"
    run_miniature(folder)
    record = folder / "results" / "miniature" / "run.json"
    (folder / "record.json").write_bytes(record.read_bytes())
    return folder
