"""Stored crops to what a network sees: mirrored to one side, shifted, turned, disturbed.

Everything is done for the whole batch at once, on the device of training.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from spinegrade.crop_shape import CropShape
from spinegrade.grade.cells.settings import Augmentation


class StoredCrops(NamedTuple):
    """A batch of n crops of one roi set as they are stored, on one device.

    ``pixels`` uint8 (n, slices, height, width) with margins. ``mirrored`` (n,) bool: a cell
    of the right side, to be seen as if it were of the left. ``sided`` (n,) bool: left or
    right, not central. ``flips_x``, ``shift_px``, ``shift_slices`` (n,) as in CropStore.
    """

    pixels: Tensor
    mirrored: Tensor
    sided: Tensor
    flips_x: Tensor
    shift_px: Tensor
    shift_slices: Tensor

    def to(self, device: torch.device) -> StoredCrops:
        """The same on ``device``."""
        return StoredCrops(*(part.to(device, non_blocking=True) for part in self))


def look(
    crops: StoredCrops,
    shape: CropShape,
    augmentation: Augmentation | None = None,
    draws: torch.Generator | None = None,
    mirror_central: bool = False,
) -> Tensor:
    """What the network sees, float32 (n, slices, pixels, pixels), about -1 to 1.

    Without ``augmentation`` it is the middle of the stored crop, pixel by pixel, central
    cells as in a mirror if ``mirror_central``. With it, shift, rotation, scale, slice shift
    and intensity are drawn from ``draws``, all in one bilinear interpolation.
    """
    if augmentation is None:
        mirrored = crops.mirrored | (~crops.sided & mirror_central)
        pixels = _slices(crops.pixels, shape, mirrored & ~crops.flips_x, None)
        margin = shape.margin_px
        pixels = pixels[..., margin : margin + shape.rows, margin : margin + shape.rows]
        flip = (mirrored & crops.flips_x)[:, None, None, None]
        pixels = torch.where(flip, pixels.flip(-1), pixels)
        return pixels.float() / 127.5 - 1.0
    count = len(crops.pixels)
    device = crops.pixels.device
    # Drawn on the CPU, so that every device draws the same.
    normal = torch.randn((count, 9), generator=draws).to(device)
    uniform = torch.rand((count, 2), generator=draws).to(device)
    mirrored = crops.mirrored | (~crops.sided & (uniform[:, 0] < augmentation.mirror))
    slice_shift = normal[:, 0] * crops.shift_slices * augmentation.jitter
    pixels = _slices(crops.pixels, shape, mirrored & ~crops.flips_x, slice_shift)
    grid = _grid(crops, shape, augmentation, normal, mirrored & crops.flips_x)
    seen = functional.grid_sample(
        pixels.float() / 255.0, grid, padding_mode="border", align_corners=False
    )
    return _disturb(seen, augmentation, normal, uniform[:, 1], draws) * 2.0 - 1.0


def _slices(pixels: Tensor, shape: CropShape, reverse: Tensor, shift: Tensor | None) -> Tensor:
    """The middle slices of each crop, reversed and shifted as asked, within the margin."""
    offsets = torch.arange(shape.slices, device=pixels.device) - (shape.slices - 1) / 2
    sign = torch.where(reverse, -1.0, 1.0)[:, None]
    middle = (pixels.shape[1] - 1) / 2
    if shift is None:
        shift = torch.zeros(len(pixels), device=pixels.device)
    moved = shift.round().clamp(-shape.slice_margin, shape.slice_margin)[:, None]
    index = (middle + sign * offsets + moved).round().long()
    return pixels[torch.arange(len(pixels), device=pixels.device)[:, None], index]


def _grid(
    crops: StoredCrops,
    shape: CropShape,
    augmentation: Augmentation,
    normal: Tensor,
    flip: Tensor,
) -> Tensor:
    """Sampling grid (n, pixels, pixels, 2) of drawn shift, rotation and scale."""
    limit = float(shape.margin_px)
    shift = (normal[:, 1:3] * crops.shift_px[:, None] * augmentation.jitter).clamp(-limit, limit)
    angle = normal[:, 3] * math.radians(augmentation.rotation_degrees)
    zoom = torch.exp(-normal[:, 4] * augmentation.scale)
    sign = torch.where(flip, -1.0, 1.0)
    stored = shape.rows + 2 * shape.margin_px
    ratio = zoom * shape.rows / stored
    cosine, sine = angle.cos() * ratio, angle.sin() * ratio
    theta = torch.stack(
        [
            torch.stack([cosine * sign, -sine, 2.0 * shift[:, 0] / stored], dim=1),
            torch.stack([sine * sign, cosine, 2.0 * shift[:, 1] / stored], dim=1),
        ],
        dim=1,
    )
    size = [len(crops.pixels), 1, shape.rows, shape.rows]
    return functional.affine_grid(theta, size, align_corners=False)


def _disturb(
    seen: Tensor,
    augmentation: Augmentation,
    normal: Tensor,
    uniform: Tensor,
    draws: torch.Generator | None,
) -> Tensor:
    """Gamma, contrast and brightness a crop, and noise of a strength drawn a crop."""

    def factor(column: int, strength: float) -> Tensor:
        return (normal[:, column] * strength)[:, None, None, None]

    seen = seen.clamp(1e-4, 1.0) ** torch.exp(factor(5, augmentation.gamma))
    mean = seen.mean(dim=(1, 2, 3), keepdim=True)
    seen = (seen - mean) * torch.exp(factor(6, augmentation.contrast)) + mean
    seen = seen + factor(7, augmentation.brightness)
    if augmentation.noise > 0:
        strength = (uniform * augmentation.noise)[:, None, None, None]
        noise = torch.randn(seen.shape, generator=draws).to(seen.device)
        seen = seen + strength * noise
    return seen
