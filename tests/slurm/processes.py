"""Processes of one's own: what Linux offers to keep them together, and a port for each daemon."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
from pathlib import Path

_PDEATHSIG, _CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def adopt_orphans() -> None:
    """From now on a process below this one whose parent dies becomes this one's child."""
    _prctl(_CHILD_SUBREAPER, 1)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process that signal when its parent dies."""
    _prctl(_PDEATHSIG, number)


def descendants() -> list[int]:
    """Every process below this one. Orphans among them are its children: it is a subreaper."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    found, waiting = [], [os.getpid()]
    while waiting:
        above = waiting.pop()
        below = [process for process, parent in parents.items() if parent == above]
        found += below
        waiting += below
    return found


def free_port(taken: set[int]) -> int:
    """A free port below those that the system hands out for outgoing connections."""
    for port in random.sample(range(20000, 30000), 200):
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        taken.add(port)
        return port
    raise OSError("no free port between 20000 and 30000")
