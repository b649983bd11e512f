"""Progress with an estimate of the time left, readable in a log file and on a terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")
_LOGGER = logging.getLogger("spinegrade")


def format_seconds(seconds: float) -> str:
    """``3725`` -> ``1 h 02 min``; ``75`` -> ``1 min 15 s``; ``8`` -> ``8 s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole} s"


class Progress:
    """Logs ``what: done/total, elapsed, left`` at most every ``every_s`` seconds.

    Each line's record carries the same as ``progress``, for the job's status file: what, done,
    total, seconds_left (None at the end), note.
    """

    def __init__(self, what: str, total: int, every_s: float = 5.0) -> None:
        self.what = what
        self.total = total
        self.every_s = every_s
        self.done = 0
        self._began = self._told = time.monotonic()
        self._before: int | None = None

    def step(self, count: int = 1, note: str = "") -> None:
        """Count ``count`` more items as done; ``note`` is appended when a line is logged."""
        if self._before is None:
            # What a resumed training had done before it began again took none of its time.
            self._before = self.done
        self.done += count
        now = time.monotonic()
        if now - self._told < self.every_s and self.done < self.total:
            return
        self._told = now
        elapsed = now - self._began
        left = elapsed / max(self.done - self._before, 1) * (self.total - self.done)
        line = f"{self.what}: {self.done}/{self.total}, {format_seconds(elapsed)} gone"
        if self.done < self.total:
            line += f", about {format_seconds(left)} left"
        told = {
            "what": self.what,
            "done": self.done,
            "total": self.total,
            "seconds_left": round(left, 1) if self.done < self.total else None,
            "note": note,
        }
        _LOGGER.info("%s%s", line, f"; {note}" if note else "", extra={"progress": told})


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items, logging progress under the name ``what``."""
    if total is None:
        assert isinstance(items, Sized), "give total for an iterable without a length"
        total = len(items)
    counter = Progress(what, total)
    for item in items:
        yield item
        counter.step()
