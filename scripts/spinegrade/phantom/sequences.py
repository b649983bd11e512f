"""Which series a study has and where each of its slices lies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spinegrade.phantom.anatomy import Anatomy
from spinegrade.phantom.curve import FIRST_LUMBAR, LAST_LUMBAR
from spinegrade.phantom.stacks import Placement, Series, Stack, Vector, rotation_matrix
from spinegrade.phantom.statistics import SeriesModel
from spinegrade.phantom.tissues import Sequence

SAGITTAL_T1, SAGITTAL_T2, AXIAL_T2 = "Sagittal T1", "Sagittal T2/STIR", "Axial T2"


def _quantile(rng: np.random.Generator, quantiles: tuple[float, ...]) -> float:
    return float(np.interp(rng.uniform(0, 1), np.linspace(0, 1, len(quantiles)), quantiles))


def _size(rng: np.random.Generator, rows: dict[int, float], low: int, high: int) -> int:
    usual = {size: share for size, share in rows.items() if low <= size <= high}
    shares = np.array(list(usual.values()))
    return int(rng.choice(list(usual), p=shares / shares.sum()))


def _sequence(rng: np.random.Generator, description: str, wide: bool) -> Sequence:
    broad = 1.0 if not wide else 2.0
    if description == SAGITTAL_T1:
        return Sequence("t1", 550 * np.exp(broad * rng.normal(0, 0.12)), rng.uniform(8, 14))
    if description == SAGITTAL_T2 and rng.uniform() < (0.2 if not wide else 0.35):
        return Sequence("stir", rng.uniform(3500, 5000), rng.uniform(45, 75), rng.normal(198, 8))
    echo = 100 * np.exp(broad * rng.normal(0, 0.10))
    return Sequence("t2", rng.uniform(2800, 4800), echo)


class _Matrix(NamedTuple):
    """The matrix of each slice of a series, its pixel spacing and its thickness."""

    rows: int
    cols: int
    spacing_mm: float
    thickness_mm: float


def _stack(
    centre: Vector, axes: tuple[Vector, Vector, Vector], matrix: _Matrix, step: float, count: int
) -> Stack:
    """``count`` slices about ``centre``; ``axes``: along rows, along columns, across slices."""
    along_row, along_column, normal = axes
    middle = 0.5 * (count - 1) * step * normal
    corner = 0.5 * (matrix.cols - 1) * matrix.spacing_mm * along_row
    corner = corner + 0.5 * (matrix.rows - 1) * matrix.spacing_mm * along_column
    first = centre - middle - corner
    return Stack(first, along_row, along_column, step * normal, *matrix, count)


def _numbers(rng: np.random.Generator, count: int, holes: float) -> tuple[int, ...]:
    """Instance numbers by position: mostly 1 .. n, in some series interleaved or with holes."""
    numbers = np.arange(1, count + 1)
    if rng.uniform() < 0.08:
        numbers = np.concatenate([numbers[::2], numbers[1::2]]).argsort() + 1
    if rng.uniform() < max(holes, 0.01):
        gap = rng.integers(1, count)
        numbers = np.where(numbers > gap, numbers + int(rng.integers(1, 4)), numbers)
    return tuple(int(n) for n in numbers)


def _resized(size: int, scale: float) -> int:
    return max(16, round(size * scale / 2) * 2)


def sagittal_series(
    rng: np.random.Generator,
    anatomy: Anatomy,
    placement: Placement,
    model: SeriesModel,
    scale: float,
    wide: bool,
    missing: tuple[str, ...],
) -> list[Series]:
    """Sagittal T1 and T2 (or STIR), mostly on the same slices."""
    thickness = float(np.clip(rng.normal(4.0, 0.3), 3.0, 5.0))
    step = thickness * rng.choice([1.0, 1.1, 1.12, 1.2], p=[0.25, 0.4, 0.2, 0.15])
    count = round(np.clip(_quantile(rng, model.slices[SAGITTAL_T1]), 8, 38))
    step = min(step, 90.0 / count) if count > 20 else step
    step = max(step, 58.0 / count)
    thickness = min(thickness, step)
    spread = 2.5 if wide else 1.0
    turn = placement.rotation @ rotation_matrix(*(spread * rng.normal(0, [2.5, 1.0, 1.2])))
    sign = rng.choice([-1.0, 1.0], p=[0.25, 0.75])
    centres = anatomy.curve.centres
    middle_z = 0.5 * (centres[FIRST_LUMBAR - 1, 1] + centres[LAST_LUMBAR, 1])
    centre = np.array([rng.normal(0, 2.0), -4 + rng.normal(0, 14), middle_z + rng.normal(0, 12)])
    series = []
    field_mm = float(np.clip(rng.normal(295, 18 * spread), 230, 400))
    for description in (SAGITTAL_T1, SAGITTAL_T2):
        size = _size(rng, model.rows[description], 256, 640)
        rows = cols = size
        if rng.uniform() < max(model.cols_differ.get(description, 0.0), 0.06):
            rows = round(size * rng.uniform(1.02, 1.2))
        field = field_mm * float(np.clip(rng.normal(1, 0.03), 0.9, 1.1))
        rows, cols = _resized(rows, scale), _resized(cols, scale)
        matrix = _Matrix(rows, cols, field / cols, thickness)
        place = placement.to_patient(centre[None])[0] + turn @ rng.normal(0, [0.3, 8, 8])
        axes = (turn[:, 1], -turn[:, 2], sign * turn[:, 0])
        stack = _stack(place, axes, matrix, float(step), count)
        if rng.uniform() < 0.12:
            count = int(np.clip(count + rng.integers(-2, 3), 8, 38))
        if description in missing:
            continue
        sequence = _sequence(rng, description, wide)
        numbers = _numbers(rng, stack.count, model.holes)
        series.append(Series(description, sequence, (stack,), numbers))
    return series


def axial_series(
    rng: np.random.Generator,
    anatomy: Anatomy,
    placement: Placement,
    model: SeriesModel,
    scale: float,
    wide: bool,
    missing: tuple[str, ...],
) -> list[Series]:
    """One to three axial T2 series: a straight stack, or oblique stacks through the discs."""
    if AXIAL_T2 in missing:
        return []
    counts = {n: share for n, share in model.axial_counts.items() if 1 <= n <= 3}
    shares = np.array(list(counts.values()))
    number = int(rng.choice(list(counts), p=shares / shares.sum()))
    kinds = ["oblique" if rng.uniform() < 0.45 else "straight"]
    kinds += [("straight" if kinds[0] == "oblique" else "oblique")] * (number - 1)
    series = []
    for kind in kinds:
        size = _size(rng, model.rows[AXIAL_T2], 256, 512)
        field = float(np.clip(rng.normal(182, 14 * (2 if wide else 1)), 140, 260))
        rows = cols = _resized(size, scale)
        thickness = float(np.clip(rng.normal(3.9, 0.35), 3.0, 5.0))
        matrix = _Matrix(rows, cols, field / cols, thickness)
        down = -1.0 if rng.uniform() < 0.8 else 1.0
        build = _oblique_stacks if kind == "oblique" else _straight_stack
        stacks = build(rng, anatomy, placement, model, matrix, down, wide)
        numbers = _numbers(rng, sum(stack.count for stack in stacks), model.holes)
        series.append(Series(AXIAL_T2, _sequence(rng, AXIAL_T2, wide), stacks, numbers))
    return series


def _straight_stack(
    rng: np.random.Generator,
    anatomy: Anatomy,
    placement: Placement,
    model: SeriesModel,
    matrix: _Matrix,
    down: float,
    wide: bool,
) -> tuple[Stack, ...]:
    centres = anatomy.curve.centres
    top, bottom = centres[FIRST_LUMBAR], centres[LAST_LUMBAR]
    tilt = rng.normal(4, 4 if not wide else 10)
    turn = placement.rotation @ rotation_matrix(tilt, *rng.normal(0, 1.2, 2))
    reach = float(np.linalg.norm(top - bottom)) + rng.uniform(26, 46)
    count = round(np.clip(_quantile(rng, model.slices[AXIAL_T2]), 20, 60))
    step = float(np.clip(reach / count, matrix.thickness_mm, 6.0))
    count = int(np.clip(np.ceil(reach / step), 20, 60))
    middle = 0.5 * (top + bottom)
    body = np.array([rng.normal(0, 3), middle[0] + 2 + rng.normal(0, 6), middle[1]])
    place = placement.to_patient(body[None])[0]
    axes = (turn[:, 0], turn[:, 1], down * turn[:, 2])
    return (_stack(place, axes, matrix, step, count),)


def _oblique_stacks(
    rng: np.random.Generator,
    anatomy: Anatomy,
    placement: Placement,
    model: SeriesModel,
    matrix: _Matrix,
    down: float,
    wide: bool,
) -> tuple[Stack, ...]:
    first = FIRST_LUMBAR - (1 if rng.uniform() < 0.3 else 0)
    count = int(rng.choice([5, 6, 7, 9], p=[0.4, 0.3, 0.15, 0.15]))
    step = matrix.thickness_mm * float(rng.choice([1.0, 1.1]))
    across = rng.normal(0, 3)
    yaw = rng.normal(0, 1.2)
    stacks = []
    for station in range(first, LAST_LUMBAR + 1):
        caudal = anatomy.curve.caudal[station]
        tilt = np.degrees(np.arctan2(caudal[0], -caudal[1])) + rng.normal(0, 2.5 if not wide else 6)
        turn = placement.rotation @ rotation_matrix(tilt, rng.normal(0, 0.6), yaw)
        centre = anatomy.curve.centres[station]
        body = np.array([across, centre[0] + rng.normal(0, 4), centre[1] + rng.normal(0, 1.2)])
        place = placement.to_patient(body[None])[0]
        axes = (turn[:, 0], turn[:, 1], down * turn[:, 2])
        stacks.append(_stack(place, axes, matrix, step, count))
    return tuple(stacks if down < 0 else stacks[::-1])
