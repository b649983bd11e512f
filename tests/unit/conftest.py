"""Fixtures that several unit tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from gpu_machine import SCRIPTS, TWO
from spinegrade.runtime import gpu_locks


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """A machine whose nvidia-smi prints what it is given: at first one with two GPUs, 0 and 1."""
    for name in list(os.environ):
        if name.startswith(("CUDA", "SLURM", "SPINEGRADE")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv(gpu_locks.FOLDER_VARIABLE, str(tmp_path / "locks"))
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program = tmp_path / "nvidia-smi"

    def printing(text: str, status: int = 0) -> None:
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\nexit {status}\n")
        program.chmod(0o755)

    printing(TWO)
    return printing
