"""Parallel slices of one kind that are more than one volume: scans repeated, blocks that overlap.

The parts are told by acquisition, time, gradient or trigger, by the line on which the slices
lie, or by runs of instance numbers. What nothing tells apart is never mixed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from spinegrade.convert.header import Frame
from spinegrade.convert.identity import alike, source_rank
from spinegrade.convert.number_parts import (
    by_number_blocks,
    by_number_runs,
    by_ranked_numbers,
    fits,
    number_runs,
    step_of,
)
from spinegrade.convert.parallel import Parallel, kept_slices
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.tags import ACQUISITION_TAGS, LOSSY, NOISY_TAGS, VOLUME_TAGS, is_dimension
from spinegrade.geometry.lines import on_even_places, position_tolerances_mm
from spinegrade.geometry.stacks import positions_by_height, sideways_groups, split_runs

Places = list[NDArray[np.int64]]
Parts = list[list[int]]

# Frames times combinations of tags that are tried: all of them for any scan, and no more than
# some seconds for a hostile one.
_MOST_WORK = 3_000_000
# Slices closer together than this share of what their header says are of several scans.
_DENSE = 0.75
# A scan's slices are less than this share of their thickness apart, the passes of one are more.
_WIDE = 1.45


def parts_at_shared_positions(group: Parallel, places: Places, tolerance_mm: float) -> Parts | None:
    """Volumes of slices of which several lie at one position; None where nothing tells them.

    Whole volumes first: values, or ranks of the instance number, that each cover every
    position once. Else values, or runs of numbers, none of which has two slices at a
    position: scans of unequal length, or with a slice lost.
    """
    at = _position_of(len(group.frames), places)
    return (
        _by_tags(group.frames, at, len(places))
        or by_ranked_numbers(group.frames, places)
        or _merged(group, _by_tags(group.frames, at, None), at, tolerance_mm)
        or _sideways(group, at)
        or by_number_blocks(group.frames, places)
        or by_number_runs(group, at, tolerance_mm)
    )


def parts_off_one_line(group: Parallel, settings: ConvertSettings) -> Parts | None:
    """Blocks of slices, one at a position, that do not belong to one even line; None for one.

    Slices of one scan, some of them missing, stay together. Blocks that were planned one by
    one and overlap are parted where more slices, or as many in fewer stacks, are kept so. A
    scan whose hole another acquisition would fill is parted too.
    """
    order = np.argsort(group.heights_mm, kind="stable")
    ordered = group.positions_mm[order]
    runs, _ = split_runs(
        ordered, group.normal, settings.spacing_tolerance_mm, settings.max_spacing_mm
    )
    parts = _scans_in_turns(group, ordered, settings) or _filled_in(group, order)
    if parts or len(runs) == 1:
        return parts
    step = step_of(ordered, runs)
    allowed = position_tolerances_mm(
        ordered, float(np.linalg.norm(step)), settings.spacing_tolerance_mm
    )
    if on_even_places(ordered, step, max(allowed)):
        return None
    kept, stacks = kept_slices(group, settings)
    best, parts = (0, 0.0), None
    at = np.empty(len(order), np.int64)
    at[order] = np.arange(len(order))
    for candidate in _candidates(group, at, settings.spacing_tolerance_mm):
        # A few slices may lie evenly by chance.
        if min(map(len, candidate)) < settings.min_slices:
            continue
        each = [kept_slices(group.subset(part), settings) for part in candidate]
        in_all = sum(count for count, _ in each)
        if (in_all, -sum(count for _, count in each)) <= (kept, -stacks):
            continue
        # The first slices of all blocks may lie evenly too: blocks reach less far.
        reach_mm = float(sum(np.ptp(group.heights_mm[part]) for part in candidate))
        if (in_all, -reach_mm) > best or parts is None:
            best, parts = (in_all, -reach_mm), candidate
    return parts


def _scans_in_turns(
    group: Parallel, ordered_mm: NDArray[np.float64], settings: ConvertSettings
) -> Parts | None:
    """Scans whose slices lie between one another: each as far apart as its header says.

    Passes of one scan are wider apart by themselves than the header says, and together just so.
    """
    # A quarter of the steps, since scans need not lie over one another as a whole. In plain
    # sorting: a quantile of numpy costs more than all else that a plain scan is asked.
    stated = sorted(frame.step_mm for frame in group.frames)[len(group.frames) // 2]
    apart = sorted(np.diff(ordered_mm @ group.normal).tolist())
    if not apart or apart[len(apart) // 4] > _DENSE * stated:
        return None
    tagged = [_parts_by(group.frames, (tag,)) for tag in ACQUISITION_TAGS]
    for parts in (*tagged, list(number_runs(group, np.argsort(np.argsort(group.heights_mm))))):
        if not 1 < len(parts) <= len(group.frames) // settings.min_slices:
            continue
        steps = [np.diff(np.sort(group.heights_mm[part])) for part in parts]
        typical = [float(np.median(step)) if len(step) else 0.0 for step in steps]
        if all(_DENSE * stated < step < _WIDE * stated for step in typical):
            return _ordered(group.frames, parts)
    return None


def _candidates(group: Parallel, at: NDArray[np.int64], tolerance_mm: float) -> Iterator[Parts]:
    for found in (_sideways(group, at), by_number_runs(group, at, tolerance_mm)):
        if found:
            yield found
    present = {tag for frame in group.frames for tag in frame.tags}
    for tag in (*VOLUME_TAGS, *sorted(filter(is_dimension, present))):
        parts = _parts_by(group.frames, (tag,)) if tag in present else []
        if 1 < len(parts) <= len(group.frames) // 2:
            yield _ordered(group.frames, parts)


def _position_of(count: int, places: Places) -> NDArray[np.int64]:
    at = np.empty(count, np.int64)
    for number, place in enumerate(places):
        at[place] = number
    return at


def _parts_by(frames: list[Frame], tags: tuple[int, ...]) -> Parts:
    parts: dict[tuple[bytes | None, ...], list[int]] = {}
    for number, frame in enumerate(frames):
        parts.setdefault(tuple(frame.tags.get(tag) for tag in tags), []).append(number)
    return list(parts.values())


def _ordered(frames: list[Frame], parts: Parts) -> Parts:
    return sorted(parts, key=lambda part: min(source_rank(frames[n]) for n in part))


def _by_tags(frames: list[Frame], at: NDArray[np.int64], whole: int | None) -> Parts | None:
    """Parts by the first tag, pair or triple none of whose values has two slices a position.

    ``whole``: the number of positions, each of which every part must cover. None: parts may
    be shorter; taken are the fewest parts, since a tag that differs in every slice tells
    nothing.
    """
    known = [*VOLUME_TAGS, *_dimensions(frames), *sorted(NOISY_TAGS), LOSSY]
    present = [tag for tag in known if len({frame.tags.get(tag) for frame in frames}) > 1]
    combinations = itertools.chain.from_iterable(
        itertools.combinations(present, count) for count in (1, 2, 3)
    )
    fewest: Parts | None = None
    for tags in itertools.islice(combinations, max(len(present), _MOST_WORK // len(frames))):
        parts = _parts_by(frames, tags)
        if fewest is not None and len(parts) >= len(fewest):
            continue
        if any(len(set(at[part])) < len(part) for part in parts):
            continue
        if whole is None:
            fewest = parts if len(parts) <= len(frames) // 2 else fewest
        elif all(len(part) == whole for part in parts):
            return _ordered(frames, parts)
    return _ordered(frames, fewest) if fewest else None


def _dimensions(frames: list[Frame]) -> list[int]:
    return sorted({tag for frame in frames for tag in frame.tags if is_dimension(tag)})


def _merged(
    group: Parallel, parts: Parts | None, at: NDArray[np.int64], tolerance_mm: float
) -> Parts | None:
    """``parts`` with those joined that follow each other and are passes or blocks of one scan."""
    joined: Parts = []
    for part in parts or []:
        if joined and fits(group, joined[-1], part, at, tolerance_mm):
            joined[-1] = [*joined[-1], *part]
        else:
            joined.append(part)
    return joined or None


def _sideways(group: Parallel, at: NDArray[np.int64]) -> Parts | None:
    """Parts of slices that lie above one another, of blocks shifted sideways; None for one."""
    labels = sideways_groups(group.positions_mm, group.normal)
    parts = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
    resolved = all(len(set(at[part])) == len(part) for part in parts)
    if not resolved or not 1 < len(parts) <= len(group.frames) // 2:
        return None
    return _ordered(group.frames, parts)


def _filled_in(group: Parallel, order: NDArray[np.int64]) -> Parts | None:
    """Parts by acquisition where slices of one lie in a hole of another, denser than passes.

    Interleaved passes of one scan are each as wide apart as there are passes; a scan that
    another acquisition completes has the common step by itself.
    """
    if alike(group.frames):
        return None
    heights = group.heights_mm
    common = float(np.median(np.diff(heights[order]))) if len(order) > 2 else 0.0
    for tag in ACQUISITION_TAGS:
        parts = _parts_by(group.frames, (tag,))
        if not 1 < len(parts) <= len(group.frames) // 2:
            continue
        for part in parts:
            own = np.sort(heights[part])
            inside = [
                place
                for other in parts
                if other is not part
                for place in other
                if own[0] < heights[place] < own[-1]
            ]
            if inside and len(own) > 2 and np.median(np.diff(own)) < 1.5 * common:
                return _ordered(group.frames, parts)
    return None


def shares_positions(group: Parallel, settings: ConvertSettings) -> Places | None:
    """The slices at each position where some has several; None where none has."""
    places = positions_by_height(group.heights_mm, settings.duplicate_tolerance_mm)
    return places if len(places) < len(group.frames) else None
