"""Points of patient space seen from stacks: which slice, which pixel, which stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinegrade.geometry.affine import Affine, normal


class HasPlanes(Protocol):
    """What is needed of a stack (``spinegrade.volumes.Stack`` has it)."""

    @property
    def affine(self) -> Affine: ...  # noqa: D102
    @property
    def slices(self) -> int: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102
    @property
    def cols(self) -> int: ...  # noqa: D102


class Projection(NamedTuple):
    """Points projected perpendicularly onto their nearest slices, arrays of length n.

    ``index`` int64, the slice; ``distance_mm`` float64 >= 0, from the point to that slice's
    plane; ``x_px`` and ``y_px`` float64, where in that slice (possibly outside the image).
    """

    index: NDArray[np.int64]
    distance_mm: NDArray[np.float64]
    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]


class NearestStack(NamedTuple):
    """Where one point falls best: ``stack`` is the place in the sequence that was given."""

    stack: int
    index: int
    distance_mm: float
    x_px: float
    y_px: float


def fractional_index(affine: Affine, points_mm: ArrayLike) -> NDArray[np.float64]:
    """Where LPS points (n, 3) lie along a stack's normal, (n,) in steps of its index.

    Slice k is at k; between slices and beyond the ends there are values as well.
    """
    points = np.asarray(points_mm, float).reshape(-1, 3)
    across = normal(affine)
    return (points - affine[:3, 3]) @ across / (affine[:3, 2] @ across)


def nearest_slice(affine: Affine, slices: int, points_mm: ArrayLike) -> Projection:
    """Project LPS points (n, 3) onto the nearest of the ``slices`` planes of a stack.

    Distance and projection are along the slices' normal, so that stacks whose positions are
    sheared (tilted gantry) are right too. Beyond the ends the end slice is nearest. Of two
    planes at the same distance the lower index is taken.
    """
    points = np.asarray(points_mm, float).reshape(-1, 3)
    across = normal(affine)
    step = affine[:3, 2] @ across
    height = (points - affine[:3, 3]) @ across
    fractional = height / step if slices > 1 else np.zeros(len(points))
    # ceil(x - 1/2) rounds halves down; the last digits of an affine must not decide a tie.
    index = np.clip(np.ceil(np.round(fractional, 9) - 0.5), 0, slices - 1).astype(np.int64)
    offset = height - index * step
    in_plane = points - offset[:, None] * across - affine[:3, 3] - index[:, None] * affine[:3, 2]
    pixels = in_plane @ np.linalg.pinv(affine[:3, :2]).T
    return Projection(index, np.abs(offset), pixels[:, 0], pixels[:, 1])


def nearest_stack(
    stacks: Sequence[HasPlanes],
    point_mm: ArrayLike,
    confidences: Sequence[float] | None = None,
    max_distance_mm: float = np.inf,
    tie_mm: float = 1e-6,
) -> NearestStack | None:
    """The stack one of whose slices passes nearest to an LPS point (3,) inside its image.

    Stacks whose nearest slice does not show the point (its projection lies more than half a
    pixel outside the pixel centres) or is farther than ``max_distance_mm`` do not compete.
    Distances within ``tie_mm`` are a tie: the greater confidence wins, then the earlier stack.
    Returns None where no stack shows the point.
    """
    rivals = []
    for place, stack in enumerate(stacks):
        seen = nearest_slice(stack.affine, stack.slices, point_mm)
        x, y, distance = float(seen.x_px[0]), float(seen.y_px[0]), float(seen.distance_mm[0])
        inside = -0.5 <= x <= stack.cols - 0.5 and -0.5 <= y <= stack.rows - 0.5
        if inside and distance <= max_distance_mm:
            rivals.append(NearestStack(place, int(seen.index[0]), distance, x, y))
    if not rivals:
        return None
    limit = min(rival.distance_mm for rival in rivals) + tie_mm
    tied = [rival for rival in rivals if rival.distance_mm <= limit]
    if confidences is None:
        return tied[0]
    return max(tied, key=lambda rival: (confidences[rival.stack], -rival.stack))
