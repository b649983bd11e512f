"""From single slices to stacks: grouping by orientation, ordering and cutting by position.

Nothing here knows a file or an instance number: only where the slices lie. All vectors are
DICOM LPS mm; an orientation is the six numbers of ImageOrientationPatient.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from spinegrade.geometry.lines import lies_even, position_tolerances_mm, through_ends

Vectors = NDArray[np.float64]
# Limits that no scan reaches, so that a hostile file costs little time and memory.
_MOST_CLUSTERED, _MOST_STEPS, _MOST_BLOCKS = 2000, 300, 16
_SMALL_SHARE = 0.1  # of a step: below it a position is as good as on the line
PLANE_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


@dataclass(frozen=True)
class Cut:
    """An uneven step between the slices ``before`` and ``before + 1`` of a sorted group."""

    before: int
    found_mm: float
    expected_mm: float


def slice_normal(orientation: Vectors) -> Vectors:
    """Unit normal of an orientation (6,), row direction times column direction."""
    # In plain numbers: numpy.cross takes ten times as long for two vectors of three.
    a, b, c, d, e, f = map(float, orientation)
    cross = np.array([b * f - c * e, c * d - a * f, a * e - b * d])
    return cross / math.sqrt(cross @ cross)


def check_orientation(orientation: Sequence[float], tolerance: float = 1e-2) -> str:
    """What is wrong with six direction cosines: "" if two perpendicular unit vectors."""
    rows, columns = orientation[:3], orientation[3:]
    lengths = math.hypot(*rows), math.hypot(*columns)
    product = sum(a * b for a, b in zip(rows, columns, strict=True))
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(product)) > tolerance:
        return (
            "ImageOrientationPatient is not two perpendicular unit vectors: lengths "
            f"{lengths[0]:.3g} and {lengths[1]:.3g}, product {product:.3g}"
        )
    return ""


def unit_orientation(orientation: Vectors) -> Vectors:
    """``orientation`` (6,) with its two axes scaled to unit length."""
    axes = orientation.reshape(2, 3)
    return (axes / np.linalg.norm(axes, axis=1, keepdims=True)).ravel()


def _clusters(values: NDArray[np.float64], near: float) -> NDArray[np.int64]:
    """Single-linkage labels of the rows of ``values`` (n, k): linked where within ``near``.

    Rows that share a cell a hundredth of ``near`` wide count as one, so that many thousands of
    directions that differ by rounding alone stay quick.
    """
    cells = np.round(values / (near / 100)).astype(np.int64)
    kept, cell_of = np.unique(cells, axis=0, return_inverse=True)
    tree = cKDTree(kept * (near / 100))
    if len(kept) > _MOST_CLUSTERED:
        # So many directions that differ are no stacks: each cell is a group of its own.
        return cell_of.ravel().astype(np.int64)
    pairs = tree.query_pairs(near * 1.0000001, p=np.inf, output_type="ndarray")
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(kept), len(kept)))
    _, labels = connected_components(links, directed=False)
    return labels[cell_of.ravel()].astype(np.int64)


def group_orientations(orientations: Vectors, tolerance_degrees: float) -> NDArray[np.int64]:
    """Label (n,) of each orientation (n, 6): equal where both image axes agree within tolerance.

    Groups are chained (a ~ b, b ~ c puts a and c together), so that labels do not depend on
    the order of the rows beyond their numbering, which follows the sorted orientations.
    """
    if (orientations == orientations[:1]).all():
        return np.zeros(len(orientations), np.int64)
    distinct, inverse = np.unique(np.round(orientations, 9), axis=0, return_inverse=True)
    # A chord of the unit circle: exact for small angles, where a cosine loses its digits.
    # Each component of a difference of unit vectors is at most the chord.
    chord = 2 * np.sin(np.radians(tolerance_degrees) / 2)
    labels = _clusters(distinct, chord)
    _, numbered = np.unique(labels, return_inverse=True)
    return numbered[inverse.ravel()].astype(np.int64)


def group_spacings(spacings_mm: Vectors, relative: float = 1e-4) -> NDArray[np.int64]:
    """Label (n,) of each pixel spacing (n, 2): equal where they agree within ``relative``."""
    if (spacings_mm == spacings_mm[:1]).all():
        return np.zeros(len(spacings_mm), np.int64)
    distinct, inverse = np.unique(np.round(spacings_mm, 9), axis=0, return_inverse=True)
    labels = _clusters(np.log(distinct), relative)
    _, numbered = np.unique(labels, return_inverse=True)
    return numbered[inverse.ravel()].astype(np.int64)


def growing_normal(orientation: Vectors, plane: str | None) -> Vectors:
    """The normal's sign along which the index grows.

    Toward +x for sagittal (patient's right to left), +z for axial (feet to head), else along
    the patient axis nearest to the normal.
    """
    normal = slice_normal(orientation)
    axis = PLANE_AXES[plane] if plane else int(np.abs(normal).argmax())
    return normal if normal[axis] >= 0 else -normal


def tilt_degrees(orientation: Vectors, plane: str) -> float:
    """Angle between the slices' normal and the axis of ``plane``, 0 to 90 degrees."""
    cosine = abs(slice_normal(orientation)[PLANE_AXES[plane]])
    return float(np.degrees(np.arccos(min(cosine, 1.0))))


def positions_by_height(heights_mm: Vectors, tolerance_mm: float) -> list[NDArray[np.int64]]:
    """Slices sorted along the normal, those at one position (within tolerance) together.

    ``heights_mm`` (n,) in any order; returns their places, lowest first. A slice joins the
    position of the one below it when it is within ``tolerance_mm`` of that position's lowest.
    """
    order = np.argsort(heights_mm, kind="stable")
    positions: list[list[int]] = []
    for place in order:
        if positions and heights_mm[place] - heights_mm[positions[-1][0]] <= tolerance_mm:
            positions[-1].append(int(place))
        else:
            positions.append([int(place)])
    return [np.array(position) for position in positions]


def sideways_groups(positions_mm: Vectors, normal: Vectors, near_mm: float = 0.5) -> Vectors:
    """Label (n,) of each slice: equal where they lie above one another, chained within near.

    ``positions_mm`` (n, 3). Slices of one stack differ along the normal alone, or by a little
    from one to the next where the stack is sheared.
    """
    sideways = positions_mm - np.outer(positions_mm @ normal, normal)
    return _clusters(sideways, near_mm)


def split_runs(
    positions_mm: Vectors, normal: Vectors, tolerance_mm: float, max_spacing_mm: float
) -> tuple[list[range], list[Cut]]:
    """Cut slices sorted along ``normal`` into runs that each lie on an even line.

    ``positions_mm`` (n, 3), strictly growing along the normal. One run where no position lies
    more than ``tolerance_mm`` off an even line along any axis and no step exceeds
    ``max_spacing_mm``. Else the step of the group is the one that most of its steps agree
    with, and it is cut where a step differs from that; lone slices left side by side are tried
    again as a group of their own (a block of another spacing). Positions that are written
    rounded may be off by half of what they are rounded to, where fewer cuts follow. Returns
    the runs in order and the cuts between them.
    """
    steps = np.diff(positions_mm, axis=0)
    heights = steps @ normal
    count = len(positions_mm)
    if count < 2:
        return [range(count)], []
    if _even_as_they_are(positions_mm, heights, tolerance_mm, max_spacing_mm):
        return [range(count)], []
    expected = float(heights[_common_step(steps, heights, tolerance_mm)])
    usual, rounded = position_tolerances_mm(positions_mm, expected, tolerance_mm)
    runs = _runs_within(positions_mm, steps, heights, usual, max_spacing_mm)
    if rounded > usual and len(runs) > 1:
        wider = _runs_within(positions_mm, steps, heights, rounded, max_spacing_mm, True)
        runs = wider if len(wider) < len(runs) else runs
    cuts = [Cut(run.stop - 1, float(heights[run.stop - 1]), expected) for run in runs[:-1]]
    return runs, cuts


def _even_as_they_are(
    positions_mm: Vectors, heights: Vectors, tolerance_mm: float, max_spacing_mm: float
) -> bool:
    """Whether nothing is to be cut, as in nearly every stack: quick to tell."""
    lowest, highest = float(heights.min()), float(heights.max())
    usual = min(tolerance_mm, _SMALL_SHARE * lowest)
    return highest <= max_spacing_mm and through_ends(positions_mm).apart_mm <= usual


def _runs_within(
    positions_mm: Vectors,
    steps: Vectors,
    heights: Vectors,
    allowed_mm: float,
    max_spacing_mm: float,
    rounded: bool = False,
) -> list[range]:
    """Runs of which no position lies more than ``allowed_mm`` off a line, as far as can be.

    ``rounded``: off by rounding alone, so that each step is one of two neighbouring values.
    """

    def even(run: range) -> bool:
        inner = slice(run.start, run.stop - 1)
        if len(run) < 2 or (heights[inner] > max_spacing_mm).any():
            return len(run) < 2
        if rounded and np.ptp(steps[inner], axis=0).max() > 2 * allowed_mm:
            return False
        return lies_even(positions_mm[run.start : run.stop], allowed_mm)

    pending, runs = [range(len(positions_mm))], []
    # Steps of positions that are each off by the allowed differ by four times that; a run that
    # drifts off its line within it is cut again, where it differs less.
    for share in (4.0, 2.0, 1.0, 0.5):
        uneven = []
        for run in pending:
            (runs if even(run) else uneven).append(run)
        pending = [
            part
            for run in uneven
            for part in _even_runs(steps, heights, run, share * allowed_mm, max_spacing_mm)
        ]
    return sorted([*runs, *pending], key=lambda run: run.start)


def short_runs(
    runs: list[range], cuts: list[Cut], min_run_slices: int, max_spacing_mm: float
) -> set[int]:
    """Numbers of the runs too short to stand alone beside a cut.

    Blocks farther apart than ``max_spacing_mm`` are no cuts.
    """
    near = [cut.found_mm <= max_spacing_mm for cut in cuts]
    beside = [any(near[max(n - 1, 0) : n + 1]) for n in range(len(runs))]
    return {n for n, run in enumerate(runs) if beside[n] and len(run) < min_run_slices}


def _common_step(steps: Vectors, heights: Vectors, tolerance_mm: float) -> int:
    """The place of the step with which most others agree, the lowest of several."""
    # Steps that share a cell a hundredth of the tolerance wide are counted together: a thousand
    # slices have few steps that differ.
    cells = np.round(steps / (tolerance_mm / 100))
    _, first, counts = np.unique(cells, axis=0, return_index=True, return_counts=True)
    if len(first) > _MOST_STEPS:
        often = np.argsort(-counts, kind="stable")[:_MOST_STEPS]
        first, counts = first[often], counts[often]
    chosen = steps[first]
    apart = np.abs(chosen[:, None] - chosen[None]).max(axis=2)
    agreeing = (apart <= tolerance_mm) @ counts
    return int(first[np.lexsort((heights[first], -agreeing))[0]])


def _even_runs(
    steps: Vectors,
    heights: Vectors,
    group: range,
    tolerance_mm: float,
    max_spacing_mm: float,
    depth: int = 0,
) -> list[range]:
    inner = np.arange(group.start, group.stop - 1)
    if not len(inner):
        return [group]
    common = steps[inner[_common_step(steps[inner], heights[inner], tolerance_mm)]]
    even = np.abs(steps[inner] - common).max(axis=1) <= tolerance_mm
    even &= heights[inner] <= max_spacing_mm
    if even.all():
        return [group]
    bounds = [group.start, *(inner[~even] + 1).tolist(), group.stop]
    pieces = [range(start, stop) for start, stop in itertools.pairwise(bounds)]
    runs: list[range] = []
    for lone, members in itertools.groupby(pieces, key=lambda piece: len(piece) == 1):
        part = list(members)
        block = range(part[0].start, part[-1].stop)
        if lone and 1 < len(block) < len(group) and depth < _MOST_BLOCKS:
            runs += _even_runs(steps, heights, block, tolerance_mm, max_spacing_mm, depth + 1)
        else:
            runs += part
    return runs


def shear_degrees(step_mm: Vectors, normal: Vectors) -> float:
    """The angle in degrees between the step (3,) from slice to slice and their normal."""
    height = step_mm @ normal
    lateral = float(np.linalg.norm(step_mm - height * normal))
    return float(np.degrees(np.arctan2(lateral, height)))
