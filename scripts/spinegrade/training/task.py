"""What a kind of learner gives the engine: samples, a network, and the losses of one on the other.

``Batch`` is the kind's own: the engine passes on what ``read`` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.training.precision import autocast


class Moment(NamedTuple):
    """Where and when a network is asked.

    ``epoch`` is counted from 0. ``draws``, on the CPU so that every device draws the same, is what
    augmentation comes from; None where nothing is varied.
    """

    device: torch.device
    dtype: torch.dtype
    epoch: int = 0
    draws: torch.Generator | None = None

    def autocast(self) -> AbstractContextManager[None]:
        """Mixed precision of ``dtype``."""
        return autocast(self.device, self.dtype)


class Task(Protocol):
    """Samples of some studies, as one kind of learner sees them.

    ``parts`` names the losses, which are the history's columns. A step is parted down to ``least``
    samples, which statistics of batches may need. ``studies``: of each sample.
    """

    parts: tuple[str, ...]
    least: int

    @property
    def studies(self) -> Sequence[str]:
        """The study of each sample."""

    def __len__(self) -> int: ...

    def digest(self) -> str:
        """Fingerprint of all that is learnt from, pixels and labels."""

    def network(self) -> nn.Module:
        """The untrained network."""

    def read(self, rows: NDArray[np.int64], seed: int) -> Any:
        """The samples at ``rows``, on the CPU; in a thread, hence drawing from ``seed`` alone."""

    def losses(self, network: nn.Module, batch: Any, at: Moment) -> Tensor:
        """Mean losses (parts,) of ``network`` on a batch."""

    def choice(self, network: nn.Module, at: Moment) -> float:
        """By how much ``network``, in evaluation mode, misses these samples; lower is better."""

    def record(self) -> dict[str, Any]:
        """Plain values that prediction needs beside the weights."""


def mean_loss(task: Task, network: nn.Module, at: Moment) -> float:
    """The mean over the samples, seen one by one and not varied, of the sum of their losses."""
    losses = (
        task.losses(network, task.read(np.array([row]), 0), at).sum() for row in range(len(task))
    )
    return sum(float(loss) for loss in losses) / len(task)
