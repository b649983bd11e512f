"""Images as training sees them: brightness, blur and movement, batched on the training device.

The base augmentation of lhwcv's part of the seventh place of RSNA 2024 (albumentations there): with
one chance each, brightness and contrast; one of motion, median and Gaussian blur; shift, scale and
rotation with a black border, in this order; then grey from -1 to 1. What is random is drawn on the
CPU, so that every device draws the same.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from spinegrade.grade.views.settings import Augmentation
from spinegrade.imaging.disturb import (
    filtered_each,
    gaussian_kernel,
    line_ends,
    median_filtered,
    motion_kernel,
)

_BLURS = ("motion", "median", "gaussian")


class Draws(NamedTuple):
    """What was drawn for each of n images, on the CPU in float32.

    ``angle`` (n,) radians, ``zoom`` (n,), ``shift`` (n, 2) as shares of columns and rows, ``flip``
    (n,) bool; ``factor`` and ``offset`` (n,) of grey from 0 to 1; ``kernels`` (n, k, k), and
    ``median`` (n,) the width of a median filter in its place, 0 for none. ``blurred`` (n,) bool:
    by a kernel.
    """

    angle: Tensor
    zoom: Tensor
    shift: Tensor
    flip: Tensor
    factor: Tensor
    offset: Tensor
    blurred: Tensor
    kernels: Tensor
    median: Tensor

    def of(self, places: Tensor) -> Draws:
        """What images get that share draws: ``places`` (m,) of the draws."""
        return Draws(*(value[places] for value in self))


def draw(count: int, augmentation: Augmentation, generator: torch.Generator) -> Draws:
    """Draws for ``count`` images, from a ``generator`` on the CPU."""
    uniform = torch.rand(count, 14, generator=generator, dtype=torch.float64)
    signed = (2 * uniform - 1).float()
    lit, blurred, moved = (uniform[:, place] < augmentation.base for place in range(3))
    flip = uniform[:, 3] < augmentation.flip
    size = augmentation.blur_px
    kernels = torch.zeros(count, size, size)
    median = torch.zeros(count, dtype=torch.long)
    by_kernel = torch.zeros(count, dtype=torch.bool)
    widths = range(3, size + 1, 2)
    for place in blurred.nonzero()[:, 0].tolist():
        kind, width, *ends = uniform[place, 10:14].tolist()
        width = widths[int(width * len(widths))]
        chosen = _BLURS[int(kind * len(_BLURS))]
        if chosen == "median":
            median[place] = width
            continue
        kernel = gaussian_kernel(width)
        if chosen == "motion":
            kernel = motion_kernel(width, line_ends(width, ends))
        edge = (size - width) // 2
        kernels[place, edge : edge + width, edge : edge + width] = kernel.float()
        by_kernel[place] = True
    return Draws(
        angle=torch.where(moved, signed[:, 4], 0) * math.radians(augmentation.rotation_degrees),
        zoom=1 + torch.where(moved, signed[:, 5], 0) * augmentation.scale,
        shift=torch.where(moved[:, None], signed[:, 6:8], 0) * augmentation.shift,
        flip=flip,
        factor=1 + torch.where(lit, signed[:, 8], 0) * augmentation.contrast,
        offset=torch.where(lit, signed[:, 9], 0) * augmentation.brightness,
        blurred=by_kernel,
        kernels=kernels,
        median=median,
    )


def plain(images: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle ``size`` (rows, cols) of ``images`` uint8 (..., rows, cols), float32 -1 to 1."""
    top, left = ((have - want) // 2 for have, want in zip(images.shape[-2:], size, strict=True))
    middle = images[..., top : top + size[0], left : left + size[1]]
    return middle.float().div_(127.5).sub_(1)


def augmented(
    images: Tensor,
    draws: Draws,
    size: tuple[int, int],
    flip_axis: str,
    moved_px: Tensor | None = None,
    aspect: Tensor | None = None,
) -> Tensor:
    """``images`` uint8 (n, C, rows, cols) as ``draws`` say, float32 (n, C, *size) in -1 to 1.

    The centre of an image stays where it is but for a drawn ``shift`` and ``moved_px`` (n, 2), x
    and y in its pixels. ``flip_axis`` x or y is what a mirror image reverses. ``aspect`` (n,):
    height over width of a pixel, so that a rotation turns the patient and shears nothing (None: 1).
    """
    grey = images.float().div_(127.5).sub_(1)
    grey = _blurred(_lit(grey, draws), draws)
    grid = _grid(draws, images.shape[-2:], size, flip_axis, moved_px, aspect)
    # Black is what comes from outside: zero, for the interpolation alone.
    seen = functional.grid_sample(
        grey.add_(1), grid.to(images.device), mode="bilinear", align_corners=False
    )
    return seen.sub_(1)


def _lit(grey: Tensor, draws: Draws) -> Tensor:
    # Grey from 0 to 1 times the factor plus the offset, said for -1 to 1.
    shift = draws.factor - 1 + 2 * draws.offset
    factor, shift = (part.to(grey.device)[:, None, None, None] for part in (draws.factor, shift))
    return grey.mul_(factor).add_(shift).clamp_(-1, 1)


def _blurred(grey: Tensor, draws: Draws) -> Tensor:
    chosen = draws.blurred.nonzero()[:, 0]
    if len(chosen):
        places = chosen.to(grey.device)
        grey[places] = filtered_each(grey[places], draws.kernels[chosen])
    for width in draws.median.unique().tolist():
        if width:
            places = (draws.median == width).nonzero()[:, 0].to(grey.device)
            part = grey[places]
            grey[places] = median_filtered(part.flatten(0, 1), width).view_as(part)
    return grey


def _grid(
    draws: Draws,
    stored: tuple[int, int],
    size: tuple[int, int],
    flip_axis: str,
    moved_px: Tensor | None,
    aspect: Tensor | None,
) -> Tensor:
    """Where each pixel of images of ``size`` lies on the ``stored`` ones, (n, *size, 2)."""
    count = len(draws.angle)
    ratio = torch.ones(count) if aspect is None else aspect.cpu().float()
    cosine, sine = draws.angle.cos() / draws.zoom, draws.angle.sin() / draws.zoom
    turn = torch.stack(
        [
            torch.stack([cosine, -sine * ratio], dim=1),
            torch.stack([sine / ratio, cosine], dim=1),
        ],
        dim=1,
    )
    sign = torch.where(draws.flip, -1.0, 1.0)
    turn[:, :, "xy".index(flip_axis)] *= sign[:, None]
    # (x, y) from the middle: pixels of what is seen to those stored, each over half of its length.
    seen_px, stored_px = (torch.tensor([cols, rows]) / 2 for rows, cols in (size, stored))
    offset = -draws.shift * torch.tensor([float(stored[1]), float(stored[0])])
    if moved_px is not None:
        offset = offset + moved_px.cpu()
    theta = torch.cat(
        [turn * seen_px / stored_px[:, None], (offset / stored_px)[:, :, None]], dim=2
    )
    return functional.affine_grid(theta, [count, 1, *size], align_corners=False)
