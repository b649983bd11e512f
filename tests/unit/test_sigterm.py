"""SIGTERM waits for what is to be kept, for a bounded time, and is never outlived."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from spinegrade.runtime import sigterm
from spinegrade.runtime.sigterm import Sigterm

PROJECT = Path(__file__).resolve().parents[2]
BEGIN = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from spinegrade.runtime import sigterm
told = lambda: os.kill(os.getpid(), signal.SIGTERM)
"""
# What is done within and after the block, how the process ends, and what it has printed until then.
CASES = {
    "kept, then ended": (
        "told(); print('kept'); waiting.carry_out('it'); print('more')",
        (-signal.SIGTERM, "kept\n"),
    ),
    "told twice": (
        "told(); told(); print('kept'); waiting.carry_out('it'); print('more')",
        (-signal.SIGTERM, "kept\n"),
    ),
    "not told": ("waiting.carry_out('it'); print('more')", (0, "more\nafter\n")),
    "told when nothing more was kept": ("told(); print('more')", (-signal.SIGTERM, "more\n")),
    "an error on the way": ("told(); print('more'); sys.exit(3)", (3, "more\n")),
    "nothing kept in time": (
        "sigterm.PATIENCE_S = 0.2; told(); time.sleep(60); print('more')",
        (-signal.SIGALRM, ""),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_how_a_process_ends(case: str) -> None:
    within, expected = CASES[case]
    code = f"{BEGIN}\nwith sigterm.Sigterm() as waiting:\n    {within}\nprint('after')\n"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-u", "-c", code, str(PROJECT / "scripts")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == expected, done.stderr
    assert time.monotonic() - began < 30


def test_before_and_after_the_block_it_means_what_it_meant() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Sigterm() as waiting:
        assert signal.getsignal(signal.SIGTERM) == waiting._note
    assert signal.getsignal(signal.SIGTERM) == before


def test_it_waits_less_than_slurm_does() -> None:
    # KillWait is 30 s unless a cluster says otherwise.
    assert sigterm.PATIENCE_S <= 25
