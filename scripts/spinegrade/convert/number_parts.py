"""Volumes told by instance numbers, where nothing else tells parallel slices apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from spinegrade.convert.header import Frame
from spinegrade.convert.parallel import Parallel
from spinegrade.geometry.lines import on_even_places, position_tolerances_mm
from spinegrade.geometry.stacks import split_runs

Places = list[NDArray[np.int64]]
Parts = list[list[int]]

# A step along the numbers that differs from the one before by more than this share of it is
# a step to another block, or over a missing slice.
_STEP_SHARE = 0.2
_LEAST_RUN = 3


def by_ranked_numbers(frames: list[Frame], places: Places) -> Parts | None:
    """Volumes by the rank of the instance number at each position, as many at each.

    Older functional and diffusion series carry nothing else. Only for numbers that clearly run
    volume by volume or position by position: all numbers of one before all of the next.
    """
    numbers = np.array([frame.instance_number for frame in frames])
    counts = {len(place) for place in places}
    if len(counts) != 1 or len(set(numbers.tolist())) != len(numbers):
        return None
    ranked = np.array([place[np.argsort(numbers[place])] for place in places])
    table = numbers[ranked]  # (positions, volumes)
    by_volume = (table.min(axis=0)[1:] > table.max(axis=0)[:-1]).all()
    order = np.argsort(table.min(axis=1))
    by_position = (table.min(axis=1)[order][1:] > table.max(axis=1)[order][:-1]).all()
    return ranked.T.tolist() if by_volume or by_position else None


def by_number_blocks(frames: list[Frame], places: Places) -> Parts | None:
    """Volumes of numbers that run position by position, some of them lost.

    With n volumes, positions own blocks of n numbers: the place in the block is the volume.
    """
    numbers = np.array([frame.instance_number for frame in frames])
    most = max(len(place) for place in places)
    if most < 2 or len(set(numbers.tolist())) != len(numbers):
        return None
    for first in range(numbers.min() - most + 1, numbers.min() + 1):
        blocks = [set(((numbers[place] - first) // most).tolist()) for place in places]
        owners = [block for found in blocks for block in found]
        if all(len(found) == 1 for found in blocks) and len(set(owners)) == len(places):
            volume = (numbers - first) % most
            return [np.flatnonzero(volume == one).tolist() for one in np.unique(volume)]
    return None


def by_number_runs(group: Parallel, at: NDArray[np.int64], tolerance_mm: float) -> Parts | None:
    """Parts by runs of instance numbers that go one way along the normal in even steps.

    ``at`` (n,): the position of each slice. A run joins the part before it where it shares no
    position with it and both lie on one even line (interleaved passes of one scan); else it
    begins a part. None where the numbers repeat, or where more parts follow than slices share a
    position and some of them is no block of its own.
    """
    frames = group.frames
    if len({frame.instance_number for frame in frames}) < len(frames):
        return None
    parts: Parts = []
    for run in number_runs(group, at):
        if parts and fits(group, parts[-1], run, at, tolerance_mm):
            parts[-1] = [*parts[-1], *run]
        else:
            parts.append(run)
    shared = np.bincount(at).max()
    most = max(shared, 2) if shared > 1 else len(frames) // 2
    if len(parts) > most and not all(_is_block(group, part, tolerance_mm) for part in parts):
        return None
    return parts if len(parts) > 1 else None


def _is_block(group: Parallel, part: list[int], tolerance_mm: float) -> bool:
    """Whether a part is a few slices on an even line without a hole."""
    return len(part) >= _LEAST_RUN and len(_runs(group, part, tolerance_mm)[1]) == 1


def _runs(
    group: Parallel, part: list[int], tolerance_mm: float
) -> tuple[NDArray[np.float64], list[range]]:
    places = np.array(part)
    ordered = group.positions_mm[places[np.argsort(group.heights_mm[places], kind="stable")]]
    return ordered, split_runs(ordered, group.normal, tolerance_mm, np.inf)[0]


def number_runs(group: Parallel, at: NDArray[np.int64]) -> Iterator[list[int]]:
    """Stretches of growing instance numbers along which the position grows, or falls, evenly.

    First by direction: the slice after a hole belongs to its scan, not to the next one's start.
    """
    heights = group.heights_mm
    for stretch in _one_way([frame.instance_number for frame in group.frames], at):
        run, before = stretch[:1], 0.0
        for place in stretch[1:]:
            step = float(heights[place] - heights[run[-1]])
            if len(run) > 1 and abs(step - before) > _STEP_SHARE * abs(before):
                yield run
                run = [place]
            else:
                run.append(place)
            before = step
        yield run


def _one_way(numbers: list[int], at: NDArray[np.int64]) -> Iterator[list[int]]:
    order = np.argsort(numbers, kind="stable").tolist()
    places = at[order].tolist()
    start, way = 0, 0
    for place in range(1, len(order)):
        step = places[place] - places[place - 1]
        if step == 0 or step * way < 0:
            yield order[start:place]
            start, way = place, 0
        else:
            way = step
    yield order[start:]


def fits(
    group: Parallel, part: list[int], run: list[int], at: NDArray[np.int64], tolerance_mm: float
) -> bool:
    """Whether two sets of slices share no position and lie on one even line, holes allowed."""
    if set(at[part]) & set(at[run]):
        return False
    ordered, runs = _runs(group, [*part, *run], tolerance_mm)
    step = step_of(ordered, runs)
    allowed = position_tolerances_mm(ordered, float(np.linalg.norm(step)), tolerance_mm)
    return on_even_places(ordered, step, max(allowed))


def step_of(ordered_mm: NDArray[np.float64], runs: list[range]) -> NDArray[np.float64]:
    """The step (3,) of the longest run, or of the first two slices where none has two."""
    longest = max(runs, key=len)
    if len(longest) < 2:
        return ordered_mm[1] - ordered_mm[0]
    ends = ordered_mm[longest.stop - 1] - ordered_mm[longest.start]
    return ends / (len(longest) - 1)
