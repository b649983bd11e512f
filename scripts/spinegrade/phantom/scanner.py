"""The simulated scanner: from label maps to 12-bit slices.

Each slice averages several planes across its thickness (the slice profile), trilinearly
sampled from the fine map where that reaches and from the coarse one elsewhere. Then come coil
sensitivity, in-plane low-pass, wrap, ghosts, Rician noise and scaling.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from spinegrade.phantom.artefacts import Artefacts, Slices, degrade
from spinegrade.phantom.body import BodyMaps
from spinegrade.phantom.canvas import Canvas, Grid
from spinegrade.phantom.stacks import Placement, Series, Stack
from spinegrade.phantom.tissues import TissueState, signal_table

_PLANES = 3
_BLEND_MM = 2.0


def _volume(
    canvas: Canvas, table: NDArray[np.float32], smooth: str, width_mm: float
) -> torch.Tensor:
    """The map's signal, smoothed with a standard deviation of ``width_mm`` along x or z."""
    labels = canvas.labels
    signal = cv2.LUT(labels.reshape(labels.shape[0], -1), table.reshape(1, 256))
    if smooth == "z":
        sigma = width_mm / canvas.grid.spacing_mm[0]
        signal = cv2.GaussianBlur(signal, (1, 5), sigmaX=1, sigmaY=sigma)
    else:
        sigma = width_mm / canvas.grid.spacing_mm[2]
        signal = cv2.GaussianBlur(signal.reshape(-1, labels.shape[2]), (5, 1), sigmaX=sigma)
    return torch.from_numpy(signal.reshape(1, 1, *labels.shape))


class _ToGrid(NamedTuple):
    """From patient mm to grid_sample's (x, y, z) in -1 .. 1: linear (3, 3), offset (3,)."""

    linear: NDArray[np.float64]
    offset: NDArray[np.float64]


class _Window(NamedTuple):
    """A part of a slice, mm: its first pixel and the steps from column to column, row to row."""

    start: NDArray[np.float64]
    column: NDArray[np.float64]
    row: NDArray[np.float64]
    rows: int
    cols: int


def _to_grid(grid: Grid, placement: Placement) -> _ToGrid:
    origin = np.array(grid.origin_mm[::-1])
    half = 0.5 * (np.array(grid.shape[::-1]) - 1) * np.array(grid.spacing_mm[::-1])
    linear = placement.rotation.T / half[:, None]
    offset = -(placement.rotation.T @ placement.shift + origin + half) / half
    return _ToGrid(linear, offset)


def _sample(
    volume: torch.Tensor,
    to_grid: _ToGrid,
    window: _Window,
    across: NDArray[np.float64],
    planes: NDArray[np.float64],
    padding: str,
) -> torch.Tensor:
    """Mean over ``planes`` (mm along ``across``) of ``window``, (rows, cols)."""
    linear, offset = to_grid
    base = torch.from_numpy((linear @ window.start + offset).astype(np.float32))
    by_column = torch.from_numpy((linear @ window.column).astype(np.float32))
    by_row = torch.from_numpy((linear @ window.row).astype(np.float32))
    by_plane = torch.from_numpy((linear @ across).astype(np.float32))
    column = torch.arange(window.cols, dtype=torch.float32)[:, None] * by_column
    row = torch.arange(window.rows, dtype=torch.float32)[:, None] * by_row
    plane = torch.from_numpy(planes.astype(np.float32))[:, None] * by_plane + base
    places = plane[:, None, None] + (row[:, None] + column[None])[None]
    sampled = torch.nn.functional.grid_sample(
        volume, places[None], mode="bilinear", padding_mode=padding, align_corners=True
    )
    return sampled[0, 0].mean(dim=0)


def _fine_box(
    stack: Stack, index: int, grid: Grid, placement: Placement
) -> tuple[int, int, int, int]:
    """First and past-last row and column that the fine grid may reach on one slice."""
    corners = np.array(
        [
            [
                grid.origin_mm[2 - axis]
                + bit * (grid.shape[2 - axis] - 1) * grid.spacing_mm[2 - axis]
                for axis, bit in enumerate(bits)
            ]
            for bits in np.ndindex(2, 2, 2)
        ]
    )
    patient = placement.to_patient(corners)
    offset = patient - stack.position(index)
    normal = stack.normal
    distance = offset @ normal
    # Cut the box's edges with the slice's slab, so that the rectangle is tight.
    points = [
        point for point, gap in zip(offset, distance, strict=True) if abs(gap) < stack.thickness_mm
    ]
    for one in range(8):
        for axis in (1, 2, 4):
            other = one ^ axis
            if other > one and distance[one] * distance[other] < 0:
                share = distance[one] / (distance[one] - distance[other])
                points.append(offset[one] + share * (offset[other] - offset[one]))
    if not points:
        return 0, 0, 0, 0
    places = np.array(points)
    margin = stack.thickness_mm
    limits = []
    for direction, size in ((stack.along_column, stack.rows), (stack.along_row, stack.cols)):
        along = places @ direction
        low = int(np.clip(np.floor((along.min() - margin) / stack.spacing_mm), 0, size))
        high = int(np.clip(np.ceil((along.max() + margin) / stack.spacing_mm) + 1, low, size))
        limits += [low, high]
    return tuple(limits)


class Scanner:
    """Images one patient: ``maps`` placed in the scanner, with the patient's tissues."""

    def __init__(self, maps: BodyMaps, placement: Placement, state: TissueState) -> None:
        self.maps = maps
        self.placement = placement
        self.state = state

    def ideal(self, series: Series, wrap: float = 0.0) -> list[Slices]:
        """Noise-free slices of every stack, (count, rows, cols) float32 each."""
        table = signal_table(series.sequence, self.state)
        normal = series.stacks[0].normal
        axis = "z" if abs(normal[2]) > abs(normal[0]) else "x"
        # Planes a third of the thickness apart, each smoothed by half that: an even profile.
        width = 0.5 * series.stacks[0].thickness_mm / _PLANES
        fine = _volume(self.maps.fine, table, axis, width)
        coarse = _volume(self.maps.coarse, table, "x", 1.0)
        return [self._stack(stack, fine, coarse, wrap) for stack in series.stacks]

    def _stack(self, stack: Stack, fine: torch.Tensor, coarse: torch.Tensor, wrap: float) -> Slices:
        fine_map = _to_grid(self.maps.fine.grid, self.placement)
        coarse_map = _to_grid(self.maps.coarse.grid, self.placement)
        result = np.empty((stack.count, stack.rows, stack.cols), np.float32)
        profile = stack.thickness_mm * ((np.arange(_PLANES) + 0.5) / _PLANES - 0.5)
        thin = np.zeros(1)
        half_rows, half_cols = (stack.rows + 1) // 2, (stack.cols + 1) // 2
        column, row = stack.spacing_mm * stack.along_row, stack.spacing_mm * stack.along_column
        across = stack.normal
        stretch = np.array([[2.0, 0, 0.0], [0, 2.0, 0.0]])
        shift = stack.cols * column
        grid = self.maps.fine.grid
        ramp = [
            0.5 * (count - 1) * step / _BLEND_MM
            for count, step in zip(grid.shape[::-1], grid.spacing_mm[::-1], strict=True)
        ]
        for index in range(stack.count):
            start = stack.position(index)
            half = _Window(start, 2 * column, 2 * row, half_rows, half_cols)
            low = _sample(coarse, coarse_map, half, across, thin, "zeros")
            if wrap > 0:
                for sign in (-1.0, 1.0):
                    moved = half._replace(start=start + sign * shift)
                    low = low + wrap * _sample(coarse, coarse_map, moved, across, thin, "zeros")
            result[index] = cv2.warpAffine(
                low.numpy(),
                stretch,
                (stack.cols, stack.rows),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            top, bottom, left, right = _fine_box(stack, index, grid, self.placement)
            if bottom - top < 2 or right - left < 2:
                continue
            begin = start + top * row + left * column
            window = _Window(begin, column, row, bottom - top, right - left)
            part = _sample(fine, fine_map, window, across, profile, "border").numpy()
            weight = _inside(fine_map, window, ramp)
            region = result[index, top:bottom, left:right]
            region += weight * (part - region)
        return result

    def acquire(
        self, series: Series, artefacts: Artefacts, rng: np.random.Generator
    ) -> list[NDArray[np.uint16]]:
        """The slices of every stack as stored, (count, rows, cols) uint16 below 4096."""
        ideal = self.ideal(series, artefacts.wrap)
        bright = np.quantile(np.concatenate([stack[:, ::8, ::8].ravel() for stack in ideal]), 0.97)
        gain = artefacts.bright / max(float(bright), 1e-6)
        return [
            degrade(slices, self._coil(stack, artefacts), artefacts, gain, rng)
            for stack, slices in zip(series.stacks, ideal, strict=True)
        ]

    def _coil(self, stack: Stack, artefacts: Artefacts) -> Slices:
        """Sensitivity (rows, cols): falls with the distance from the coil at the back."""
        cells = 17
        rows = np.linspace(0, stack.rows - 1, cells)[:, None, None] * stack.spacing_mm
        cols = np.linspace(0, stack.cols - 1, cells)[None, :, None] * stack.spacing_mm
        start = stack.position(stack.count // 2)
        patient = start + rows * stack.along_column + cols * stack.along_row
        body = (patient - self.placement.shift) @ self.placement.rotation
        centres = self.maps.fine.curve.centres
        spine = np.interp(body[..., 2], centres[::-1, 1], centres[::-1, 0])
        depth = spine + 45.0 - body[..., 1]
        fall = 1.0 / (1.0 + (np.clip(depth, 0, None) / artefacts.coil_depth_mm) ** 2.5)
        field = artefacts.coil_floor + (1 - artefacts.coil_floor) * fall
        ripple = cv2.resize(
            artefacts.bias.astype(np.float32), (cells, cells), interpolation=cv2.INTER_CUBIC
        )
        field = (field * np.exp(ripple)).astype(np.float32)
        return cv2.resize(field, (stack.cols, stack.rows), interpolation=cv2.INTER_LINEAR)


def _inside(fine_map: _ToGrid, window: _Window, ramp: list[float]) -> Slices:
    """Weight of the fine map on a slice: 1 inside its box, 0 outside, a short ramp between."""
    linear, offset = fine_map
    start, column, row, rows, cols = window
    base, by_column, by_row = linear @ start + offset, linear @ column, linear @ row
    weight = np.ones((rows, cols), np.float32)
    for axis in range(3):
        place = (base[axis] + by_row[axis] * np.arange(rows)).astype(np.float32)[:, None] + (
            by_column[axis] * np.arange(cols)
        ).astype(np.float32)
        np.minimum(weight, (1 - np.abs(place)) * np.float32(ramp[axis]), out=weight)
    return np.clip(weight, 0, 1, out=weight)
