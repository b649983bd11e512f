"""Batches of volumes read in a thread of their own while the step before them runs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinegrade.one_stage.samples import OneStageSamples


class Packed(NamedTuple):
    """Volumes one after the other, on the CPU.

    ``slices`` uint8 (S, canvas, canvas) with S the sum of ``lengths``; ``points`` float32
    (B, P, 3) in canvas px and slices, ``known`` bool (B, P), ``grades`` int64 (B, P), -1 missing.
    """

    slices: Tensor
    lengths: list[int]
    points: Tensor
    known: Tensor
    grades: Tensor


def read_packed(samples: OneStageSamples, chosen: NDArray[np.int64], pinned: bool) -> Packed:
    """The ``chosen`` samples packed, in memory that CUDA can copy from at once if ``pinned``."""
    volumes = [samples.volumes[place] for place in chosen]
    slices = torch.from_numpy(np.concatenate(volumes))
    return Packed(
        slices.pin_memory() if pinned else slices,
        [len(volume) for volume in volumes],
        torch.from_numpy(samples.points[chosen]),
        torch.from_numpy(samples.known[chosen]),
        torch.from_numpy(samples.grades[chosen]),
    )


class ReadAhead:
    """Yields the batches of ``parts`` (places of samples), each read while the one before is used.

    Nothing is drawn at random there, so that the thread cannot change what is learnt.
    ``waited_s`` is the time that its user had to wait for reads.
    """

    def __init__(
        self, samples: OneStageSamples, parts: Iterable[NDArray[np.int64]], pinned: bool
    ) -> None:
        self.samples, self.parts, self.pinned = samples, parts, pinned
        self.waited_s = 0.0

    def __iter__(self) -> Iterator[Packed]:
        with ThreadPoolExecutor(1, "read_ahead") as pool:
            waiting: Future[Packed] | None = None
            for part in self.parts:
                following = pool.submit(read_packed, self.samples, part, self.pinned)
                if waiting is not None:
                    yield self._result(waiting)
                waiting = following
            if waiting is not None:
                yield self._result(waiting)

    def _result(self, waiting: Future[Packed]) -> Packed:
        began = time.monotonic()
        packed = waiting.result()
        self.waited_s += time.monotonic() - began
        return packed
