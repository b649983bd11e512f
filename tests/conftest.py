"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real studies and labels; tests that ask for it are skipped where it is absent."""
    given = os.environ.get("SPINEGRADE_REAL_DATA")
    folder = Path(given) if given else PROJECT.parent / "shared" / "data"
    if not (folder / "rsna2024").is_dir():
        pytest.skip(f"real_data: no folder {folder}/rsna2024 (set SPINEGRADE_REAL_DATA)")
    return folder
