"""Random movements of whole slices: homographies of the canvas, drawn a volume.

Two families, as in the published system: the points brought onto the mean shape (a similarity
fitted to the consensus of the points, then scaled, turned and put into the middle of the
canvas), and a homography that moves the canvas's corners. A movement that would take a
point too near to the edge is drawn again, a fixed number of times.

All is computed for the whole batch at once, in float64 on the CPU: it is a few numbers a volume.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

RECENTRES = ("shifted", "published")


class WarpLimits(NamedTuple):
    """How far movements go; lengths in px of the canvas.

    ``scale`` and ``corner``: uniform within, as a share of 1 and of the canvas's side.
    ``rotation_degrees`` and ``shift_px``: uniform within plus or minus. ``recentre``
    "shifted" moves the box of the points by up to ``shift_px`` from the middle; "published" is
    the fault of the published code, which draws that shift in px from the limits of the scale, so
    that the box always lies within a third of a px of the middle. ``border_px`` and
    ``corner_border_px``: how near to the edge the points may come. ``tries``: how often a
    movement is drawn until the points stay inside.
    """

    scale: tuple[float, float]
    rotation_degrees: float
    shift_px: float
    border_px: float
    corner: float
    corner_border_px: float
    inlier_px: float
    tries: int
    recentre: str


def aligned(
    points: Tensor,
    known: Tensor,
    shape: Tensor,
    canvas: int,
    limits: WarpLimits,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Movements (B, 3, 3) float64 of canvases that bring points to a varied mean shape.

    ``points`` (B, P, 2) canvas px, ``known`` bool (B, P), ``shape`` (P, 2) canvas px about
    any origin. Also returns bool (B,): False where there is no such movement (fewer than two
    points, or a shape that does not fit into the canvas), whose matrix is the identity.
    """
    count = len(points)
    uniform = torch.rand(count, limits.tries, 4, generator=generator, dtype=torch.float64)
    factor, fits = similarity_by_consensus(points, known, shape, limits.inlier_px)
    low, high = limits.scale
    scale = 1 + low + (high - low) * uniform[..., 0]
    angle = (2 * uniform[..., 1] - 1) * math.radians(limits.rotation_degrees)
    # The last try leaves the shape as it is: the published fallback.
    scale = torch.cat([scale, torch.ones(count, 1, dtype=torch.float64)], dim=1)
    angle = torch.cat([angle, torch.zeros(count, 1, dtype=torch.float64)], dim=1)
    turns = factor[:, None] * torch.polar(scale, angle)
    moved = turns[..., None] * torch.view_as_complex(points.double().contiguous())[:, None]
    lowest, highest = _box(torch.view_as_real(moved), known[:, None])
    size = highest - lowest
    inside = (size <= canvas - 1.5 - 2 * limits.border_px).all(dim=2)
    chosen = inside.float().argmax(dim=1)
    rows = torch.arange(count)
    fits = fits & inside[rows, chosen]
    # uniform[:, 0] rather than the chosen try's: the fallback has none of its own.
    centre = _centre(size[rows, chosen], canvas, limits, uniform[:, 0, 2:])
    shift = centre - (lowest + highest)[rows, chosen] / 2
    turn = turns[rows, chosen]
    matrix = torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)
    matrix[:, 0, 0], matrix[:, 0, 1] = turn.real, -turn.imag
    matrix[:, 1, 0], matrix[:, 1, 1] = turn.imag, turn.real
    matrix[:, :2, 2] = shift
    return _or_identity(matrix, fits), fits


def _centre(size: Tensor, canvas: int, limits: WarpLimits, uniform: Tensor) -> Tensor:
    """Where the middle (B, 2) of the points' box of ``size`` (B, 2) goes."""
    if limits.recentre == "published":
        low, high = limits.scale
        return (canvas - 1.5) / 2 + low + (high - low) * uniform
    room = ((canvas - 1.5 - size) / 2 - limits.border_px).clamp(min=0)
    shift = (2 * uniform - 1) * limits.shift_px
    return (canvas - 1) / 2 + torch.minimum(torch.maximum(shift, -room), room)


def perspective(
    points: Tensor,
    known: Tensor,
    canvas: int,
    limits: WarpLimits,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Homographies (B, 3, 3) float64 that move each corner of the canvas on its own.

    The points stay inside; also returns bool (B,), False where no try kept them so (identity).
    """
    count = len(points)
    edge = canvas - 0.5
    corners = torch.tensor(
        [[-0.5, -0.5], [edge, -0.5], [edge, edge], [-0.5, edge]], dtype=torch.float64
    )
    drawn = torch.rand(count, limits.tries, 4, 2, generator=generator, dtype=torch.float64)
    target = corners + (2 * drawn - 1) * limits.corner * canvas
    matrices, solved = homography_of(corners, target)
    moved, depth = apply_homography(matrices, points.double()[:, None])
    lowest, highest = _box(moved, known[:, None])
    border = limits.corner_border_px
    inside = (lowest > border).all(dim=2) & (highest < canvas - 1 - border).all(dim=2)
    ahead = ((depth > 1e-6) | ~known[:, None]).all(dim=2)
    good = inside & ahead & solved
    chosen = good.float().argmax(dim=1)
    rows = torch.arange(count)
    fits = good[rows, chosen]
    return _or_identity(matrices[rows, chosen], fits), fits


def homography_of(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Homographies (..., 3, 3) that take four points ``source`` (4, 2) to ``target`` (..., 4, 2).

    Also returns bool (...): whether there is one (no three targets on a line).
    """
    x, y = source.unbind(-1)
    one, none = torch.ones_like(x), torch.zeros_like(x)
    u, v = target.unbind(-1)
    x, y, one, none = (part.expand(u.shape) for part in (x, y, one, none))
    upper = torch.stack([x, y, one, none, none, none, -u * x, -u * y], dim=-1)
    lower = torch.stack([none, none, none, x, y, one, -v * x, -v * y], dim=-1)
    right = torch.cat([u, v], dim=-1)
    found, info = torch.linalg.solve_ex(torch.cat([upper, lower], dim=-2), right[..., None])
    entries = torch.cat([found[..., 0], torch.ones_like(found[..., :1, 0])], dim=-1)
    good = (info == 0) & torch.isfinite(entries).all(dim=-1)
    return entries.unflatten(-1, (3, 3)), good


def apply_homography(matrices: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """``points`` (..., P, 2) moved by ``matrices`` (..., 3, 3), and their depths (..., P).

    Where the depth is not above zero, a point lies behind the horizon and has no image.
    """
    moved = points @ matrices[..., :2].mT + matrices[..., 2][..., None, :]
    return moved[..., :2] / moved[..., 2:], moved[..., 2]


def similarity_by_consensus(
    points: Tensor, known: Tensor, shape: Tensor, inlier_px: float
) -> tuple[Tensor, Tensor]:
    """Scale and turn of the similarity on which most points agree, as complex numbers (B,).

    ``points`` (B, P, 2), ``known`` bool (B, P), ``shape`` (P, 2). As OpenCV's
    estimateAffinePartial2D (Fischler and Bolles, "Random sample consensus", CACM 24, 1981), but
    every pair of points is tried rather than a random few: the similarity of the pair with most
    points within ``inlier_px`` of the shape (of several the one that leaves the others nearest),
    then least squares over these points. Also returns bool (B,): whether two known points lie
    apart.
    """
    places = torch.view_as_complex(points.double().contiguous())
    wanted = torch.view_as_complex(shape.double().contiguous())
    first, second = torch.triu_indices(len(wanted), len(wanted), 1)
    apart = places[:, second] - places[:, first]
    usable = known[:, first] & known[:, second] & (apart.abs() > 1e-9)
    factor = (wanted[second] - wanted[first]) / torch.where(usable, apart, 1.0)
    offset = wanted[first] - factor * places[:, first]
    error = (factor[..., None] * places[:, None] + offset[..., None] - wanted).abs()
    agree = (error <= inlier_px) & known[:, None]
    # Votes count first: what the others are off amounts to less than one.
    off = torch.where(known[:, None], error / (error + inlier_px), 0.0).mean(dim=2)
    votes = torch.where(usable, agree.sum(dim=2) - off, -1.0)
    best = votes.argmax(dim=1)
    rows = torch.arange(len(places))
    weight = agree[rows, best].double()
    total = weight.sum(dim=1, keepdim=True).clamp(min=1)
    moving = (places - (weight * places).sum(dim=1, keepdim=True) / total) * weight
    fixed = wanted - (weight * wanted).sum(dim=1, keepdim=True) / total
    power = (moving.abs() ** 2).sum(dim=1)
    fits = usable.any(dim=1) & (power > 1e-9)
    found = (moving.conj() * fixed).sum(dim=1) / torch.where(fits, power, 1.0)
    fits = fits & (found.abs() > 1e-9)
    return torch.where(fits, found, torch.ones_like(found)), fits


def _box(points: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest (..., 2) of the known ones of ``points`` (..., P, 2)."""
    seen = known[..., None].expand(points.shape)
    lowest = torch.where(seen, points, math.inf).amin(dim=-2)
    highest = torch.where(seen, points, -math.inf).amax(dim=-2)
    none = ~seen.any(dim=-2)
    return lowest.masked_fill(none, 0.0), highest.masked_fill(none, 0.0)


def _or_identity(matrices: Tensor, keep: Tensor) -> Tensor:
    return torch.where(keep[:, None, None], matrices, torch.eye(3, dtype=matrices.dtype))
