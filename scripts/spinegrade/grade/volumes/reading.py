"""Batches of volumes, packed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinegrade.grade.volumes.samples import OneStageSamples


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


def read_packed(samples: OneStageSamples, chosen: NDArray[np.int64]) -> Packed:
    """The ``chosen`` samples packed."""
    volumes = [samples.volumes[place] for place in chosen]
    slices = torch.from_numpy(np.concatenate(volumes))
    return Packed(
        slices,
        [len(volume) for volume in volumes],
        torch.from_numpy(samples.points[chosen]),
        torch.from_numpy(samples.known[chosen]),
        torch.from_numpy(samples.grades[chosen]),
    )
