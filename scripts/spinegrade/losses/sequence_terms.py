"""What the loss of axial levels and those who use its networks share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

IGNORED = -100
"""The level of a slice that is near no annotated point."""


def soft_places(chances: Tensor, segments: Sequence[tuple[int, int]]) -> Tensor:
    """(n, 2, 5): the mean place within each of n ``segments``, weighted by ``chances`` (L, 2, 5).

    Segments are (first, end) of a series' slices in the sequence; places count from its first.
    """
    found = []
    for first, end in segments:
        own = chances[first:end]
        place = torch.arange(end - first, device=own.device, dtype=own.dtype)[:, None, None]
        found.append((own * place).sum(dim=0) / own.sum(dim=0).clamp(min=1e-9))
    return torch.stack(found)
