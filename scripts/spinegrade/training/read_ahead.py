"""Batches read in a thread of their own while the step before them runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Part = TypeVar("Part")
Batch = TypeVar("Batch")


class ReadAhead(Generic[Part, Batch]):
    """Yields ``read(part)`` for each of ``parts``, each read while the one before is used.

    Nothing may be drawn at random in ``read``, so that the thread cannot change what is learnt.
    ``waited_s`` is the time that its user had to wait for reads.
    """

    def __init__(self, read: Callable[[Part], Batch], parts: Iterable[Part]) -> None:
        self.read, self.parts = read, parts
        self.waited_s = 0.0

    def __iter__(self) -> Iterator[Batch]:
        with ThreadPoolExecutor(1, "read_ahead") as pool:
            waiting: Future[Batch] | None = None
            for part in self.parts:
                following = pool.submit(self.read, part)
                if waiting is not None:
                    yield self._result(waiting)
                waiting = following
            if waiting is not None:
                yield self._result(waiting)

    def _result(self, waiting: Future[Batch]) -> Batch:
        began = time.monotonic()
        batch = waiting.result()
        self.waited_s += time.monotonic() - began
        return batch
