"""Points of frames in the units that a network tells, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from spinegrade.localise.coordinates.settings import Settings


def to_targets(points: Tensor, settings: Settings) -> Tensor:
    """(B, P, 3) frame px and shares of the stack to (B, P, K) as the network tells them."""
    return (points * _factors(settings, points))[..., : settings.coordinates]


def from_targets(told: Tensor, settings: Settings) -> Tensor:
    """(B, P, K) told by a network to (B, P, K) frame px and shares of the stack."""
    return told / _factors(settings, told)[: settings.coordinates]


def _factors(settings: Settings, like: Tensor) -> Tensor:
    in_plane, slices = settings.target_scale
    per_px = in_plane / settings.frame_px
    return torch.tensor([per_px, per_px, slices], dtype=like.dtype, device=like.device)
