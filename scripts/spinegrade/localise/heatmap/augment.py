"""Augmentation of whole batches on the training device, points moved with the pixels.

One matrix a sample resamples the slices (shift, stretch and, for sagittal grids, the mirror)
and one resampling moves the pixels in the plane (shift, scale, rotation and, for axial
crops, the mirror). A mirror exchanges left and right points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor


class Strength(NamedTuple):
    """How far augmentation goes. Shifts in mm of the patient, everything else as it says.

    Uniform draws within plus or minus the value, but ``shift_mm`` is a normal's standard
    deviation for axial crops, whose centres err that way.
    """

    shift_mm: float
    scale: float
    rotation_degrees: float
    slice_shift_mm: float
    slice_scale: float
    mirror: float
    contrast: float
    brightness: float
    gamma: float
    noise: float
    slice_loss: float


class Batch(NamedTuple):
    """``images`` float (B, slices, rows, cols) in 0 .. 1 or so; ``points`` float (B, P, 3).

    Points are (x, y, slice) of the images' grid; ``known`` bool (B, P) says which exist and
    lie inside.
    """

    images: Tensor
    points: Tensor
    known: Tensor


class Geometry(NamedTuple):
    """How images are moved. ``in_plane`` (B, 2, 3) and ``slices`` (B, 2), output to input.

    Input (x, y) about the input's centre is ``in_plane[:, :, :2]`` times output (x, y) about
    the output's centre plus ``in_plane[:, :, 2]``; input slice about the centre is ``slices[:, 0]``
    times the output's plus ``slices[:, 1]``.
    """

    in_plane: Tensor
    slices: Tensor


def _uniform(count: int, limit: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(count, generator=generator) * 2 - 1) * limit


def draw_geometry(
    count: int,
    strength: Strength,
    plane: str,
    pixel_mm: float,
    slice_mm: float,
    generator: torch.Generator,
) -> tuple[Geometry, Tensor]:
    """Draw ``count`` movements; returns them and bool (count,), which are mirrored."""
    angle = _uniform(count, math.radians(strength.rotation_degrees), generator)
    scale = torch.exp(_uniform(count, math.log1p(strength.scale), generator))
    if plane == "axial":
        shift = torch.randn(count, 2, generator=generator) * strength.shift_mm
    else:
        shift = _uniform(count * 2, strength.shift_mm, generator).view(count, 2)
    mirrored = torch.rand(count, generator=generator) < strength.mirror
    slice_scale = torch.exp(_uniform(count, math.log1p(strength.slice_scale), generator))
    slice_shift = _uniform(count, strength.slice_shift_mm / slice_mm, generator)
    sign = 1.0 - 2.0 * mirrored.float()
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    across = sign if plane == "axial" else torch.ones(count)
    rotation = torch.stack([cosine * across, -sine, sine * across, cosine], 1).view(count, 2, 2)
    in_plane = torch.cat([rotation, shift[:, :, None] / pixel_mm], dim=2)
    along = slice_scale if plane == "axial" else slice_scale * sign
    return Geometry(in_plane, torch.stack([along, slice_shift], 1)), mirrored


def move_images(
    images: Tensor, geometry: Geometry, size: tuple[int, int], lost: Tensor | None = None
) -> Tensor:
    """(B, slices, rows, cols) float moved into (B, slices, *size); zeros from outside.

    ``lost`` bool (B, slices): slices of the result that become zero.
    """
    count, slices, rows, cols = images.shape
    device = images.device
    middle = (slices - 1) / 2
    offset = torch.arange(slices, device=device) - middle
    wanted = geometry.slices[:, :1] * offset + geometry.slices[:, 1:] + middle
    weights = (1 - (wanted[:, :, None] - torch.arange(slices, device=device)).abs()).clamp(min=0)
    if lost is not None:
        weights = weights * ~lost[:, :, None]
    images = (weights @ images.flatten(2)).view(count, slices, rows, cols)
    y = torch.arange(size[0], device=device) - (size[0] - 1) / 2
    x = torch.arange(size[1], device=device) - (size[1] - 1) / 2
    base = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    turn, shift = geometry.in_plane[:, :, :2], geometry.in_plane[:, :, 2]
    where = torch.einsum("bij,yxj->byxi", turn, base) + shift[:, None, None]
    # From pixels about the centre to grid_sample's -1 .. 1 between the outer pixel edges.
    where = where * torch.tensor([2.0 / cols, 2.0 / rows], device=device)
    return functional.grid_sample(images, where, align_corners=False)


def move_points(
    points: Tensor,
    geometry: Geometry,
    shape: tuple[int, int, int],
    size: tuple[int, int],
) -> Tensor:
    """(B, P, 3) points of an input grid of ``shape`` to where ``move_images`` puts them."""
    slices, rows, cols = shape
    centre_in = points.new_tensor([(cols - 1) / 2, (rows - 1) / 2])
    centre_out = points.new_tensor([(size[1] - 1) / 2, (size[0] - 1) / 2])
    turn, shift = geometry.in_plane[:, :, :2], geometry.in_plane[:, :, 2]
    relative = points[:, :, :2] - centre_in - shift[:, None]
    in_plane = torch.linalg.solve(turn, relative.transpose(1, 2)).transpose(1, 2) + centre_out
    middle = (slices - 1) / 2
    along = (points[:, :, 2] - middle - geometry.slices[:, 1:]) / geometry.slices[:, :1] + middle
    return torch.cat([in_plane, along[:, :, None]], dim=2)


def augment(
    images: Tensor,
    points: Tensor,
    known: Tensor,
    *,
    strength: Strength,
    plane: str,
    mirror: Sequence[int],
    size: tuple[int, int],
    pixel_mm: float,
    slice_mm: float,
    generator: torch.Generator,
) -> Batch:
    """Augment a batch: ``images`` uint8 (B, slices, rows, cols) with (B, P, 3) ``points``.

    ``generator`` is on the CPU, so that every device draws the same; ``size`` (rows, cols) of the
    result may be smaller than the input, which then gives shifts something to move in.
    """
    count, slices, rows, cols = images.shape
    geometry, mirrored = draw_geometry(count, strength, plane, pixel_mm, slice_mm, generator)
    look = [
        torch.exp(_uniform(count, math.log1p(strength.contrast), generator)),
        _uniform(count, strength.brightness, generator),
        _uniform(count, strength.gamma, generator),
        torch.rand(count, generator=generator) * strength.noise,
    ]
    noise = torch.randn(count, slices, *size, generator=generator)
    lost = torch.rand(count, slices, generator=generator) < strength.slice_loss
    device = images.device
    geometry = Geometry(geometry.in_plane.to(device), geometry.slices.to(device))
    exchange = torch.tensor(mirror)
    order = torch.where(mirrored[:, None], exchange, torch.arange(len(mirror))).to(device)
    gain, offset, gamma, sigma = (value.to(device).view(-1, 1, 1, 1) for value in look)

    moved = move_images(images.float().div_(255.0), geometry, size, lost.to(device))
    # In place, since fresh memory costs more than the arithmetic: gain (x + gamma x (1 - x)).
    moved.mul_(torch.addcmul(gain * (1 + gamma), moved, gain * gamma, value=-1))
    moved.add_(offset).addcmul_(noise.to(device), sigma)
    points = move_points(points, geometry, (slices, rows, cols), size)
    points = points.gather(1, order[:, :, None].expand(-1, -1, 3))
    limit = points.new_tensor([size[1] - 1, size[0] - 1, slices - 1])
    inside = ((points > -0.5) & (points < limit + 0.5)).all(dim=2)
    return Batch(moved, points, known.gather(1, order) & inside)
