"""Augmentation of packed volumes on the training device, points moved with the pixels.

In the order of the published system: slices reversed; one homography a volume, composed of what
moves it and of the step from canvas to image, and ONE interpolation; a black rectangle above
the topmost point; brightness and contrast; blur or noise. What is random is drawn on the
CPU, so that every device draws the same (the single values of noise apart).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional

from spinegrade.errors import SpinegradeError
from spinegrade.grade.volumes.augmentation import Augmentation
from spinegrade.grade.volumes.canvas import FRAME_PX, to_mask
from spinegrade.grade.volumes.flip import check_lengths, exchange_sides, mirror_slices
from spinegrade.grade.volumes.warps import aligned, apply_homography, perspective
from spinegrade.imaging.disturb import (
    add_noise,
    filtered,
    gaussian_filtered,
    line_ends,
    median_filtered,
    motion_kernel,
)

# What lies behind the horizon of a homography is sampled here: outside, hence black.
_OUTSIDE = 3.0
LOOK_DRAWS = 11


class Batch(NamedTuple):
    """What a network learns from. ``slices`` float32 (S, 1, image_px, image_px) in -1 .. 1.

    ``points`` float32 (B, P, 3), x and y in px of the heatmap ("mask" px) and the slice; ``known``
    bool (B, P); ``reversed`` bool (B,): whose slices are in reverse order. All are on the
    slices' device. Grades belong to points: pass them through
    ``flip.exchange_sides(grades, batch.reversed, settings.mirror, settings.flip)``.
    """

    slices: Tensor
    points: Tensor
    known: Tensor
    reversed: Tensor


def plain(
    slices: Tensor,
    points: Tensor,
    image_px: int,
    known: Tensor | None = None,
    mask_offset: str = "exact",
) -> Batch:
    """Packed ``slices`` uint8 (S, canvas, canvas) as validation and inference see them.

    Linear interpolation from canvas to image, as OpenCV's. ``points`` (B, P, 3) in canvas px;
    ``known`` None: all.
    """
    canvas = slices.shape[-1]
    grey = slices[:, None].float()
    if image_px != canvas:
        grey = functional.interpolate(grey, (image_px, image_px), mode="bilinear")
    if known is None:
        known = torch.ones(points.shape[:2], dtype=torch.bool)
    placed = to_mask(points.float(), canvas, image_px, mask_offset)
    device = slices.device
    never = torch.zeros(len(points), dtype=torch.bool, device=device)
    return Batch(grey.div_(127.5).sub_(1), placed.to(device), known.to(device), never)


def augment(
    slices: Tensor,
    lengths: Sequence[int],
    points: Tensor,
    known: Tensor,
    *,
    settings: Augmentation,
    mean_shape: ArrayLike | Tensor,
    generator: torch.Generator,
) -> Batch:
    """Augment packed ``slices`` uint8 (S, canvas, canvas) with (B, P, 3) ``points`` in canvas px.

    ``lengths``: slices of each volume; ``known`` bool (B, P). ``mean_shape`` (P, 2), px of the
    canvas about any origin, with sides and levels in the order of the points. ``generator`` is on
    the CPU; points and known are best there too, since movements are computed there. Raises
    SpinegradeError for tensors that do not fit together.

    Points are matched to the mean shape by the side that they were annotated on, also in
    reversed volumes, so that ``flip`` decides about the order of points and about nothing else.
    """
    canvas = _check(slices, lengths, points, known)
    device = slices.device
    points, known = points.detach().cpu().double(), known.cpu()
    shape = torch.as_tensor(mean_shape, dtype=torch.float64, device="cpu")
    count = points.shape[1]
    if shape.shape != (count, 2) or len(settings.mirror) != count:
        raise SpinegradeError(
            f"a mean shape {tuple(shape.shape)} and settings of {len(settings.mirror)} points do "
            f"not fit {count} points; expected {(count, 2)} and {count}"
        )
    reversed_ = torch.rand(len(points), generator=generator) < settings.reversal
    matrices = draw_movements(points[..., :2], known, shape, canvas, settings, generator)
    in_plane, _ = apply_homography(matrices, points[..., :2])
    known = known & ((in_plane > -0.5) & (in_plane < canvas - 0.5)).all(dim=2)
    moved = torch.cat([in_plane, points[..., 2:]], dim=2)
    cutouts = draw_cutouts(in_plane, known, canvas, settings, generator)
    looks = torch.rand(len(points), LOOK_DRAWS, generator=generator, dtype=torch.float64).tolist()

    size = settings.image_px
    grids = sampling_grids(matrices, canvas, size, device)
    out = torch.empty(len(slices), size, size, device=device)
    first = 0
    for place, length in enumerate(lengths):
        volume = slices[first : first + length]
        if reversed_[place]:
            volume = volume.flip(0)
        # A volume's slices as channels share the interpolation's weights.
        seen = functional.grid_sample(
            volume[None].float(), grids[place][None], mode="bilinear", align_corners=False
        )[0]
        top, bottom, left, right = cutouts[place]
        seen[:, top:bottom, left:right] = 0
        out[first : first + length] = disturbed(seen.div_(127.5).sub_(1), settings, looks[place])
        first += length

    placed = to_mask(mirror_slices(moved, reversed_, lengths), canvas, size, settings.mask_offset)
    placed = exchange_sides(placed, reversed_, settings.mirror, settings.flip)
    known = exchange_sides(known, reversed_, settings.mirror, settings.flip)
    return Batch(out[:, None], placed.float().to(device), known.to(device), reversed_.to(device))


def draw_movements(
    points: Tensor,
    known: Tensor,
    shape: Tensor,
    canvas: int,
    settings: Augmentation,
    generator: torch.Generator,
) -> Tensor:
    """One homography (B, 3, 3) a volume, canvas px to canvas px: aligned, perspective, or none."""
    limits = settings.limits(canvas)
    case = torch.rand(len(points), generator=generator)
    still = torch.eye(3, dtype=torch.float64).repeat(len(points), 1, 1)
    # Both are drawn for all, so that what one volume gets does not hang on the others' cases.
    by_shape, _ = aligned(points, known, shape, canvas, limits, generator)
    by_corners, _ = perspective(points, known, canvas, limits, generator)
    to_shape = (case < settings.align)[:, None, None]
    to_corners = (case >= 1 - settings.homography)[:, None, None]
    return torch.where(to_shape, by_shape, torch.where(to_corners, by_corners, still))


def sampling_grids(matrices: Tensor, canvas: int, size: int, device: torch.device) -> Tensor:
    """Where each pixel of images of ``size`` lies on the canvas, float32 (B, size, size, 2).

    ``matrices`` (B, 3, 3) move canvas px; the result counts from -1 to 1 between the outer edges
    of the canvas's pixels, as ``grid_sample`` without aligned corners.
    """
    # Image px to moved canvas px, and canvas px to -1 .. 1; both from pixel centres.
    ratio = canvas / size
    to_canvas = torch.diag(torch.tensor([ratio, ratio, 1.0], dtype=torch.float64))
    to_canvas[:2, 2] = (ratio - 1) / 2
    to_unit = torch.diag(torch.tensor([2 / canvas, 2 / canvas, 1.0], dtype=torch.float64))
    to_unit[:2, 2] = 1 / canvas - 1
    back = torch.linalg.inv(matrices)
    # A homography's sign is free: let the middle of the canvas lie before the horizon.
    middle = torch.tensor([(canvas - 1) / 2, (canvas - 1) / 2, 1.0], dtype=torch.float64)
    seen_at = matrices @ middle
    depth = (back[:, 2] * (seen_at / seen_at[:, 2:])).sum(dim=1)
    back = back * torch.sign(depth)[:, None, None]
    whole = (to_unit @ back @ to_canvas).float().to(device)
    place = torch.arange(size, device=device, dtype=torch.float32)
    rows = whole[:, :, 0, None, None] * place + whole[:, :, 1, None, None] * place[:, None]
    rows = rows + whole[:, :, 2, None, None]
    ahead = rows[:, 2] > 1e-6
    grid = rows[:, :2] / torch.where(ahead, rows[:, 2], 1.0)[:, None]
    return torch.where(ahead[:, None], grid, _OUTSIDE).permute(0, 2, 3, 1)


def draw_cutouts(
    in_plane: Tensor, known: Tensor, canvas: int, settings: Augmentation, generator: torch.Generator
) -> list[tuple[int, int, int, int]]:
    """A rectangle a volume, above its topmost known point: top, bottom, left, right in image px.

    Width and height are drawn first, uniform in px of the canvas, then where it lies; empty
    for volumes without one or without room for it. Bottom and right are exclusive.
    """
    ratio = settings.image_px / canvas
    least = settings.cutout_width_px * canvas / FRAME_PX
    drawn = torch.rand(len(in_plane), 5, generator=generator, dtype=torch.float64).tolist()
    tops = torch.where(known, in_plane[..., 1], math.inf).amin(dim=1).tolist()
    found = []
    for top, (chance, wide, high, across, down) in zip(tops, drawn, strict=True):
        if not (chance < settings.cutout and 2 <= top < math.inf):
            found.append((0, 0, 0, 0))
            continue
        width = least + wide * (canvas - least)
        height = 1 + high * (top - 1)
        left = across * (canvas - width)
        above = down * (top - height)
        # The row that holds the point stays, whichever way it is rounded.
        bottom = min(round((above + height) * ratio), math.floor((top + 0.5) * ratio - 0.5))
        edges = (round(above * ratio), bottom, round(left * ratio), round((left + width) * ratio))
        found.append(edges if bottom > edges[0] else (0, 0, 0, 0))
    return found


def disturbed(seen: Tensor, settings: Augmentation, look: Sequence[float]) -> Tensor:
    """Brightness, contrast, and blur or noise of one volume, (D, rows, cols) in -1 .. 1, clipped.

    ``look``: ``LOOK_DRAWS`` uniform draws from 0 to 1. May change ``seen`` itself.
    """
    chance, gain, offset, disturb, kind, size, *ends, variance, low_seed, high_seed = look
    if chance < settings.brightness_contrast:
        factor = 1 + (2 * gain - 1) * settings.contrast
        # Grey from 0 to 1 times the factor plus the offset, said for -1 to 1.
        shift = factor - 1 + 2 * (2 * offset - 1) * settings.brightness
        seen = seen.mul_(factor).add_(shift).clamp_(-1, 1)
    if disturb >= settings.disturb:
        return seen
    chosen = settings.disturb_by[int(kind * len(settings.disturb_by))]
    sizes = range(3, settings.blur_px + 1, 2)
    width = sizes[int(size * len(sizes))]
    if chosen == "motion":
        return filtered(seen, motion_kernel(width, line_ends(width, ends), settings.motion))
    if chosen == "gaussian":
        return gaussian_filtered(seen, width)
    if chosen == "median":
        return median_filtered(seen, width)
    low, high = settings.noise_variance
    seed = int(low_seed * 2**31) * 2**31 + int(high_seed * 2**31)
    return add_noise(seen, low + variance * (high - low), seed).clamp_(-1, 1)


def _check(slices: Tensor, lengths: Sequence[int], points: Tensor, known: Tensor) -> int:
    """The canvas's side; refuses tensors that do not fit together."""
    check_lengths(slices, lengths)
    canvas = slices.shape[-1]
    if slices.dtype != torch.uint8 or slices.shape[1:] != (canvas, canvas):
        raise SpinegradeError(
            f"packed slices are {slices.dtype} {tuple(slices.shape)}, expected uint8 (S, canvas, "
            "canvas)"
        )
    if len(points) != len(lengths) or points.shape[2:] != (3,) or known.shape != points.shape[:2]:
        raise SpinegradeError(
            f"points are {tuple(points.shape)} and known {tuple(known.shape)}, expected "
            f"({len(lengths)}, P, 3) and ({len(lengths)}, P) for {len(lengths)} volumes"
        )
    return canvas
