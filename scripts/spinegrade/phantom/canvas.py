"""A label map on a regular grid, painted with solids given as intervals across the body.

Every solid is described, for each (z, y) column of voxels, by the interval of x that it
fills. That is one comparison of small integers a voxel inside the solid's own box.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from spinegrade.phantom.curve import Curve, Floats, SpineField
from spinegrade.runtime.seeds import generator

_TILE = 128
_TILE_MM = 0.7
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Grid:
    """Voxel centres at origin + index * spacing, (z, y, x) order, body frame mm."""

    origin_mm: tuple[float, float, float]
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]

    @classmethod
    def around(
        cls,
        low_mm: tuple[float, float, float],
        high_mm: tuple[float, float, float],
        spacing_mm: tuple[float, float, float],
    ) -> Grid:
        """The grid that covers low to high (z, y, x), symmetric about the box's middle."""
        shape = tuple(
            int(np.ceil((high - low) / step)) + 1
            for low, high, step in zip(low_mm, high_mm, spacing_mm, strict=True)
        )
        origin = tuple(
            0.5 * (low + high) - 0.5 * (count - 1) * step
            for low, high, count, step in zip(low_mm, high_mm, shape, spacing_mm, strict=True)
        )
        return cls(origin, spacing_mm, shape)

    def axis(self, number: int) -> Floats:
        """Voxel centres along axis ``number`` (0 z, 1 y, 2 x) in mm."""
        index = np.arange(self.shape[number], dtype=np.float32)
        return self.origin_mm[number] + index * self.spacing_mm[number]


@cache
def texture(name: str, levels: int) -> Labels:
    """A periodic tile (128, 128, 128) of 0.7 mm voxels with values 0 .. levels - 1.

    ``marrow``: blobs of 2 mm; ``muscle``: streaks along the body; ``fat``: blobs of 8 mm. Each
    value fills the same share of the tile.
    """
    sigma = {"marrow": (2.0, 2.0, 2.0), "muscle": (9.0, 2.0, 2.0), "fat": (8.0, 8.0, 8.0)}[name]
    noise = generator(0, "texture", name).standard_normal((_TILE,) * 3, dtype=np.float32)
    smooth = gaussian_filter(noise, sigma, mode="wrap")
    edges = np.quantile(smooth, np.arange(1, levels) / levels)
    return np.searchsorted(edges, smooth).astype(np.uint8)


class Window:
    """A rectangle of (z, y) columns of a canvas with its spine coordinates."""

    def __init__(self, canvas: Canvas, rows: slice, columns: slice) -> None:
        self.canvas = canvas
        self.rows = rows
        self.columns = columns
        self.field: SpineField = canvas.field.part((rows, columns))
        self.y = canvas.y[columns][None, :]
        self.z = canvas.z[rows][:, None]

    @property
    def empty(self) -> bool:
        """Whether the window lies outside the grid."""
        return self.field.behind.size == 0

    def paint(
        self,
        label: int,
        low: ArrayLike,
        high: ArrayLike,
        where: NDArray[np.bool_] | bool = True,
        tile: tuple[str, int] | None = None,
    ) -> None:
        """Write ``label`` where low <= x - lateral <= high (mm), in the columns ``where``.

        ``tile`` (name, levels) adds a texture's value to the label.
        """
        if self.empty:
            return
        grid = self.canvas.grid
        shape = self.field.behind.shape
        offset = self.field.lateral - grid.origin_mm[2]
        first = np.ceil((np.asarray(low, np.float32) + offset) / grid.spacing_mm[2])
        last = np.floor((np.asarray(high, np.float32) + offset) / grid.spacing_mm[2])
        first = np.clip(np.broadcast_to(first, shape), 0, grid.shape[2]).astype(np.int16)
        last = np.clip(np.broadcast_to(last, shape), -1, grid.shape[2] - 1).astype(np.int16)
        filled = (last >= first) & where
        if not filled.any():
            return
        rows = np.flatnonzero(filled.any(axis=1))
        columns = np.flatnonzero(filled.any(axis=0))
        inner = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        first, last = np.where(filled, first, 1)[inner], np.where(filled, last, 0)[inner]
        begin, end = int(first[filled[inner]].min()), int(last[filled[inner]].max()) + 1
        index = np.arange(begin, end, dtype=np.int16)
        mask = (index >= first[..., None]) & (index <= last[..., None])
        box = (
            slice(self.rows.start + rows[0], self.rows.start + rows[-1] + 1),
            slice(self.columns.start + columns[0], self.columns.start + columns[-1] + 1),
            slice(begin, end),
        )
        value: int | Labels = label
        if tile is not None:
            value = self.canvas.textured(tile, box) + np.uint8(label)
        np.copyto(self.canvas.labels[box], value, where=mask)


class Canvas:
    """The label map (z, y, x) uint8 of one grid, with the spine coordinates of its columns."""

    def __init__(self, grid: Grid, curve: Curve, shift: tuple[int, int, int]) -> None:
        self.grid = grid
        self.curve = curve
        self.shift = shift
        self.labels: Labels = np.zeros(grid.shape, np.uint8)
        self.z, self.y, self.x = (grid.axis(number) for number in range(3))
        self.field = curve.field(self.y[None, :], self.z[:, None])

    def whole(self) -> Window:
        """All columns."""
        return Window(self, slice(0, self.grid.shape[0]), slice(0, self.grid.shape[1]))

    def window(
        self, upper: int, lower: int, above: float, below: float, front: float, back: float
    ) -> Window:
        """Columns from ``above`` mm over station ``upper`` to ``below`` mm under ``lower``.

        ``front`` (negative) and ``back`` are the limits of ``behind`` in mm.
        """
        corners = np.array(
            [self.curve.point(upper, -above, side) for side in (front, back)]
            + [self.curve.point(lower, below, side) for side in (front, back)]
            + [
                self.curve.point(station, 0.0, side)
                for station in range(upper, lower + 1)
                for side in (front, back)
            ]
        )
        limits = []
        for number, column in ((0, 1), (1, 0)):
            origin, step = self.grid.origin_mm[number], self.grid.spacing_mm[number]
            low, high = corners[:, column].min() - 2, corners[:, column].max() + 2
            start = int(np.clip((low - origin) // step, 0, self.grid.shape[number]))
            stop = int(np.clip((high - origin) // step + 2, start, self.grid.shape[number]))
            limits.append(slice(start, stop))
        return Window(self, limits[0], limits[1])

    def textured(self, tile: tuple[str, int], box: tuple[slice, slice, slice]) -> Labels:
        """A texture's values in a box of voxels, the same at a place on every grid."""
        source = texture(*tile)
        index = []
        for number, extent in enumerate(box):
            place = self.grid.origin_mm[number] + self.grid.spacing_mm[number] * np.arange(
                extent.start, extent.stop
            )
            index.append((np.floor(place / _TILE_MM).astype(int) + self.shift[number]) % _TILE)
        return source[np.ix_(*index)]
