"""The names of a training's random streams: each draw has one of its own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spinegrade.runtime.seeds import generator, stream_seed


class Streams(NamedTuple):
    """Seeds of one fold of the learner ``name``; ``prefix`` is its kind's."""

    seed: int
    prefix: str
    name: str
    fold: int

    @property
    def start(self) -> int:
        """What torch is seeded with before the network is built."""
        return stream_seed(self.seed, self.prefix, self.name, self.fold) % 2**32

    def order(self, epoch: int) -> np.random.Generator:
        """What an epoch's order of the samples is drawn from."""
        return generator(self.seed, f"{self.prefix}_order", self.name, self.fold, epoch)

    def of(self, what: str, *place: int) -> int:
        """The seed of ``what`` (dropout, draws, chosen) at an epoch, step and part."""
        return stream_seed(self.seed, f"{self.prefix}_{what}", self.name, self.fold, *place)
