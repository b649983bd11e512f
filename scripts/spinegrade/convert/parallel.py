"""Slices that face one way: grouped by orientation, matrix and pixel spacing.

Slices of one scan may be turned against each other by a little (rounded cosines, a patient who
moved, software that writes one orientation a slice). They stay one group where that moves no
voxel by more than half a pixel and the positions say that they belong together.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinegrade.convert.header import Frame
from spinegrade.convert.settings import ConvertSettings
from spinegrade.geometry.lines import even_line
from spinegrade.geometry.stacks import (
    group_orientations,
    group_spacings,
    growing_normal,
    positions_by_height,
    short_runs,
    split_runs,
    unit_orientation,
)

# Slices turned further against each other are stacks of their own, never one scan.
_MOST_TURNED_DEGREES = 5.0
_LEAST_COSINE = np.cos(np.radians(_MOST_TURNED_DEGREES))
_MOST_APART_STEPS = 1.25
# Groups of one series that are tried against each other; a scan has some six.
_MOST_TRIED = 40
# Where a turned slice may be held fast: at its first pixel, or at its centre.
_PIVOTS = (0.0, 0.5)
_HALF_PIXEL = 0.5


@dataclass(frozen=True)
class Parallel:
    """Slices of one orientation, matrix size and pixel spacing.

    ``normal``: their unit normal (3,), the way the index grows. ``positions_mm`` (n, 3): where
    the first pixel of each lies. ``orientation`` (6,): the shared one of slices that are turned
    against each other, for which the positions hold; None: each slice's own is good enough.
    """

    frames: list[Frame]
    normal: NDArray[np.float64]
    positions_mm: NDArray[np.float64]
    orientation: NDArray[np.float64] | None = None

    @property
    def heights_mm(self) -> NDArray[np.float64]:
        """Position of each slice along the normal, (n,)."""
        return self.positions_mm @ self.normal

    def subset(self, places: NDArray[np.int64] | list[int]) -> Parallel:
        """The slices at ``places``, in that order."""
        frames = [self.frames[place] for place in places]
        return Parallel(frames, self.normal, self.positions_mm[places], self.orientation)


@dataclass(frozen=True)
class Turned:
    """Slices between one another that are turned too far to be one volume."""

    frames: list[Frame]
    degrees: float
    moved_mm: float


def parallel_groups(
    frames: list[Frame], plane: str | None, settings: ConvertSettings
) -> list[Parallel | Turned]:
    """The groups of ``frames`` by orientation, matrix size and pixel spacing."""
    spacing = group_spacings(np.array([frame.spacing_mm for frame in frames]))
    alike: dict[tuple[int, ...], list[Frame]] = {}
    for place, frame in enumerate(frames):
        key = (frame.pixels.rows, frame.pixels.cols, int(spacing[place]))
        alike.setdefault(key, []).append(frame)
    found: list[Parallel | Turned] = []
    for key in sorted(alike):
        groups = list(_by_orientation(alike[key], plane, settings.orientation_tolerance_degrees))
        found += _joined(groups, plane, settings) if 1 < len(groups) <= len(frames) else groups
    return found


def _by_orientation(
    frames: list[Frame], plane: str | None, tolerance_degrees: float
) -> Iterator[Parallel]:
    labels = group_orientations(
        np.array([frame.orientation for frame in frames]), tolerance_degrees
    )
    members: dict[int, list[Frame]] = {}
    for label, frame in zip(labels.tolist(), frames, strict=True):
        members.setdefault(label, []).append(frame)
    for label in sorted(members):
        group = members[label]
        positions = np.array([frame.position_mm for frame in group])
        yield Parallel(group, growing_normal(group[0].orientation, plane), positions)


def _joined(
    groups: list[Parallel], plane: str | None, settings: ConvertSettings
) -> list[Parallel | Turned]:
    """``groups`` of one size, those joined that make up one scan; the others as they are."""
    few = groups[:_MOST_TRIED]
    if not any(_may_meet(one, other) for one, other in itertools.combinations(few, 2)):
        return list(groups)
    orientations = np.array([group.frames[0].orientation for group in groups])
    near = group_orientations(orientations, _MOST_TURNED_DEGREES)
    found: list[Parallel | Turned] = []
    for label in np.unique(near):
        members = [groups[place] for place in np.flatnonzero(near == label)]
        # All of them first: a scan whose every slice is turned a little.
        whole = _join(members, plane, settings) if len(members) > 1 else None
        found += [whole] if whole else _join_pairs(members, plane, settings)
    return found


def _may_meet(one: Parallel, other: Parallel) -> bool:
    """Whether slices of two groups lie between one another, or go on one step apart."""
    if float(one.normal @ other.normal) < _LEAST_COSINE:
        return False
    own, others = np.sort(one.heights_mm), np.sort(other.positions_mm @ one.normal)
    apart = max(own[0] - others[-1], others[0] - own[-1])
    larger = own if len(own) >= len(others) else others
    step = float(np.median(np.diff(larger))) if len(larger) > 1 else np.inf
    return bool(apart <= _MOST_APART_STEPS * step)


def _join_pairs(
    members: list[Parallel], plane: str | None, settings: ConvertSettings
) -> list[Parallel | Turned]:
    if len(members) > _MOST_TRIED:
        return list(members)
    turned: list[Parallel | Turned] = []
    joined = True
    while joined:
        joined = False
        for one, other in itertools.combinations(members, 2):
            if not _may_meet(one, other):
                continue
            pair = _join([one, other], plane, settings)
            if pair is None:
                continue
            members = [group for group in members if group is not one and group is not other]
            if isinstance(pair, Parallel):
                members.append(pair)
            else:
                turned.append(pair)
            joined = True
            break
    return [*members, *turned]


def _join(
    groups: list[Parallel], plane: str | None, settings: ConvertSettings
) -> Parallel | Turned | None:
    """One group of all slices where that makes fewer or larger stacks, else None.

    Turned: they would, and lie between one another, but a voxel moves by more than half a
    pixel.
    """
    frames = [frame for group in groups for frame in group.frames]
    mean = _mean_orientation(frames)
    normal = growing_normal(mean, plane)
    apart = [kept_slices(group, settings) for group in groups]
    separate = (sum(kept for kept, _ in apart), -sum(count for _, count in apart))
    held: list[tuple[bool, float, float, Parallel]] = []
    for pivot in _PIVOTS:
        joined = Parallel(frames, normal, _held_at(frames, mean, pivot), mean)
        heights = joined.heights_mm
        if len(positions_by_height(heights, settings.duplicate_tolerance_mm)) < len(frames):
            continue
        kept, count = kept_slices(joined, settings)
        if (kept, -count) <= separate:
            continue
        order = np.argsort(heights, kind="stable")
        moved, apart_mm = 0.0, 0.0
        for run in split_runs(joined.positions_mm[order], normal, *_limits(settings))[0]:
            places = order[list(run)]
            part = [frames[place] for place in places]
            moved = max(moved, moved_mm(part, joined.positions_mm[places], mean))
            if len(run) > 1:
                apart_mm = max(apart_mm, even_line(joined.positions_mm[places]).apart_mm)
        held.append((moved > half_pixel_mm(frames[0]), apart_mm, moved, joined))
    if not held:
        return None
    # Of the points at which the slices may be held, the one that leaves them evenly spaced.
    too_far, _, moved, joined = min(held, key=lambda one: one[:3])
    if not too_far:
        return joined
    if _between_one_another(groups, normal):
        return Turned(frames, turned_degrees(frames, mean), moved)
    return None


def _limits(settings: ConvertSettings) -> tuple[float, float]:
    return settings.spacing_tolerance_mm, settings.max_spacing_mm


def kept_slices(group: Parallel, settings: ConvertSettings) -> tuple[int, int]:
    """How many slices of a group would be kept, and in how many stacks."""
    order = np.argsort(group.heights_mm, kind="stable")
    runs, cuts = split_runs(group.positions_mm[order], group.normal, *_limits(settings))
    short = short_runs(runs, cuts, settings.min_run_slices, settings.max_spacing_mm)
    kept = [len(run) for number, run in enumerate(runs) if number not in short]
    return sum(kept), len(kept)


def _between_one_another(groups: list[Parallel], normal: NDArray[np.float64]) -> bool:
    ranges = [(group.positions_mm @ normal) for group in groups]
    return any(
        one.min() < other.max() and other.min() < one.max()
        for one, other in itertools.combinations(ranges, 2)
    )


def _mean_orientation(frames: list[Frame]) -> NDArray[np.float64]:
    """The mean of the slices' axes, made perpendicular unit vectors again, (6,)."""
    row, column = np.mean([frame.orientation for frame in frames], axis=0).reshape(2, 3)
    row = row / np.linalg.norm(row)
    return unit_orientation(np.concatenate([row, column - (column @ row) * row]))


def _held_at(
    frames: list[Frame], orientation: NDArray[np.float64], pivot: float
) -> NDArray[np.float64]:
    """First pixels (n, 3) under ``orientation`` of slices that keep one point in place.

    ``pivot``: where that point lies along rows and columns, 0 the first pixel, 0.5 the centre.
    """
    return np.array(
        [
            frame.position_mm + _along(frame, frame.orientation - orientation, pivot, pivot)
            for frame in frames
        ]
    )


def _along(
    frame: Frame, axes: NDArray[np.float64], across: float, down: float
) -> NDArray[np.float64]:
    """From the first pixel to the one at that share of the image's width and height, mm (3,)."""
    width = (frame.pixels.cols - 1) * frame.spacing_mm[1]
    height = (frame.pixels.rows - 1) * frame.spacing_mm[0]
    return axes[:3] * width * across + axes[3:] * height * down


def moved_mm(
    frames: list[Frame], positions_mm: NDArray[np.float64], orientation: NDArray[np.float64]
) -> float:
    """How far a voxel lies at most from where its own header says, in a stack of these slices.

    The stack is the even line through ``positions_mm`` (n, 3), first pixels in index order
    under the shared ``orientation`` (6,).
    """
    if len(frames) < 2:
        return 0.0
    line = even_line(positions_mm)
    most = 0.0
    for index, frame in enumerate(frames):
        start = line.first + index * line.step
        for across, down in itertools.product((0.0, 1.0), repeat=2):
            shared = start + _along(frame, orientation, across, down)
            own = frame.position_mm + _along(frame, frame.orientation, across, down)
            most = max(most, float(np.linalg.norm(own - shared)))
    return most


def half_pixel_mm(frame: Frame) -> float:
    """Half of the smaller pixel spacing."""
    return _HALF_PIXEL * float(frame.spacing_mm.min())


def turned_degrees(frames: list[Frame], orientation: NDArray[np.float64]) -> float:
    """The greatest angle between an image axis of a slice and that of ``orientation``."""
    axes = np.array([frame.orientation for frame in frames]).reshape(-1, 2, 3)
    chords = np.linalg.norm(axes - orientation.reshape(2, 3), axis=2)
    return float(np.degrees(2 * np.arcsin(np.clip(chords.max() / 2, 0, 1))))


def stack_affine_orientation(group: Parallel, run: list[Frame]) -> NDArray[np.float64]:
    """The orientation (6,) of a stack of these slices: the shared one, or its middle slice's."""
    return run[len(run) // 2].orientation if group.orientation is None else group.orientation
