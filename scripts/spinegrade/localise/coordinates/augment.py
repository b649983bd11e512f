"""Variation of a batch on the training device, points moved with the pixels.

In the published order: brightness and contrast; a blur; shift, scale and rotation in one
interpolation with zeros from outside. All slices of a sample are varied alike, like the channels
of one image. Nothing is mirrored. What is random is drawn on the CPU, so that every device
draws the same.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from spinegrade.imaging.disturb import (
    filtered,
    gaussian_filtered,
    median_filtered,
    motion_kernel,
)
from spinegrade.localise.coordinates.settings import Augmentation

_BLURS = ("motion", "median", "gaussian")
# Uniform numbers drawn for each sample.
_DRAWS = 14


def as_seen(images: Tensor, image_px: int) -> Tensor:
    """Float images (B, C, D, F, F) in -1 .. 1 to (B, C, D, image_px, image_px), by nearest pixel.

    Pixel k shows pixel floor(k F / image_px), as the published interpolation takes it.
    """
    side = images.shape[-1]
    if image_px == side:
        return images
    kept = torch.arange(image_px, device=images.device) * side // image_px
    return images[..., kept, :][..., kept]


def plain(images: Tensor) -> Tensor:
    """uint8 images of any shape as float in -1 .. 1."""
    return images.float().div_(127.5).sub_(1)


def augment(
    images: Tensor, points: Tensor, limits: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Varied ``images`` uint8 (B, C, D, F, F) as float in -1 .. 1, and ``points`` (B, P, 3) moved.

    x and y of the points in px of the frame; what else they hold stays. ``generator`` is on the
    CPU.
    """
    draws = torch.rand(len(images), _DRAWS, generator=generator, dtype=torch.float64)
    out = plain(images).flatten(1, 2)
    for place, look in enumerate(draws.tolist()):
        out[place] = _looked(out[place], limits, look)
    movements = _movements(draws[:, 9:], limits, images.shape[-1])
    moved = _moved_images(out, movements)
    return moved.view(images.shape), _moved_points(points, movements, images.shape[-1])


def _looked(slices: Tensor, limits: Augmentation, look: list[float]) -> Tensor:
    """Brightness, contrast and blur of one sample's slices (C D, F, F) in -1 .. 1."""
    bright, gain, offset, blur, kind, width, *ends = look[:9]
    if bright < limits.chance:
        factor = 1 + (2 * gain - 1) * limits.contrast
        # Grey from 0 to 1 times the factor plus the offset, said for -1 to 1.
        shift = factor - 1 + 2 * (2 * offset - 1) * limits.brightness
        slices = slices.mul_(factor).add_(shift).clamp_(-1, 1)
    if blur >= limits.chance or limits.blur_px < 3:
        return slices
    sizes = range(3, limits.blur_px + 1, 2)
    size = sizes[int(width * len(sizes))]
    chosen = _BLURS[int(kind * len(_BLURS))]
    if chosen == "median":
        return median_filtered(slices, size)
    if chosen == "gaussian":
        return gaussian_filtered(slices, size)
    one, more = int(ends[0] * size**2), int(ends[1] * (size**2 - 1))
    other = (one + 1 + more) % size**2
    line = (one % size, one // size, other % size, other // size)
    return filtered(slices, motion_kernel(size, line))


def _movements(draws: Tensor, limits: Augmentation, side: int) -> Tensor:
    """(B, 2, 3) float64: where a pixel goes, from (x, y) about the frame's centre, in px."""
    chance, angle, scale, across, down = draws.unbind(dim=1)
    still = chance >= limits.chance
    spread = [2 * value - 1 for value in (angle, scale, across, down)]
    angle, scale, across, down = (torch.where(still, 0.0, value) for value in spread)
    turn = torch.polar(1 + scale * limits.scale, angle * math.radians(limits.rotation_degrees))
    x_row = torch.stack([turn.real, -turn.imag, across * limits.shift * side], dim=1)
    y_row = torch.stack([turn.imag, turn.real, down * limits.shift * side], dim=1)
    return torch.stack([x_row, y_row], dim=1)


def _moved_images(slices: Tensor, movements: Tensor) -> Tensor:
    """(B, S, F, F) in -1 .. 1 moved, black (-1) from outside."""
    side = slices.shape[-1]
    back = torch.linalg.inv(movements[:, :, :2])
    # grid_sample counts from -1 to 1 between the outer edges, so that lengths are halves of F.
    shift = -(back @ movements[:, :, 2:]) * (2 / side)
    grids = functional.affine_grid(
        torch.cat([back, shift], dim=2).float().to(slices.device),
        [len(slices), 1, side, side],
        align_corners=False,
    )
    # About black as zero, so that padding is black.
    return functional.grid_sample(slices + 1, grids, align_corners=False) - 1


def _moved_points(points: Tensor, movements: Tensor, side: int) -> Tensor:
    centre = (side - 1) / 2
    about = points[..., :2].double().cpu() - centre
    moved = about @ movements[:, :, :2].mT + movements[:, None, :, 2] + centre
    return torch.cat([moved.to(points), points[..., 2:]], dim=2)
