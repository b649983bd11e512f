"""Which slices of a series make which volume: the rules, before a pixel is decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spinegrade.convert.copies import find_copies, undecodable
from spinegrade.convert.header import Frame
from spinegrade.convert.identity import by_source, is_derived, series_uids, source_rank
from spinegrade.convert.overlap import (
    parts_at_shared_positions,
    parts_off_one_line,
    shares_positions,
)
from spinegrade.convert.parallel import Parallel, Turned, half_pixel_mm, parallel_groups
from spinegrade.convert.refusals import plain_name
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.stack import Note, PlannedStack, leave_out, stacks_of
from spinegrade.geometry.stacks import positions_by_height, tilt_degrees

__all__ = ["Note", "PlannedStack", "plan_series"]

# Beyond this angle two groups of slices are not in each other's way.
_SAME_WAY = np.cos(np.radians(5.0))


@dataclass
class _Plan:
    """What is planned so far: stacks, notes, and the copies of each kept slice by its id."""

    plane: str | None
    settings: ConvertSettings
    stacks: list[PlannedStack] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    copies: dict[int, list[Frame]] = field(default_factory=dict)


def plan_series(
    frames: list[Frame], plane: str | None, settings: ConvertSettings
) -> tuple[list[PlannedStack], list[Note]]:
    """Stacks of a series, ordered along the plane's axis, and what was left out or noted.

    First identity, then completeness: slices of two sources (series, kind of picture, echo,
    time, weighting, acquisition) never share a stack, whatever their names and numbers.
    ``plane`` (sagittal, axial): slices of another plane are left out; with None a series
    of several planes is refused. Order and numbering come from patient positions alone.
    """
    plan = _Plan(plane, settings)
    sources, names = by_source(frames)
    _note_series(frames, plan.notes)
    groups: list[tuple[int, Parallel]] = []
    for number, source in enumerate(sources):
        for group in parallel_groups(source, plane, settings):
            if _faces_the_plane(group, plan):
                groups.append((number, group))
    for volume in _without_fragments(groups, plan, ", ".join(names)):
        for part in _volumes(volume, plan):
            stacks, notes = stacks_of(part, settings)
            plan.stacks += stacks
            plan.notes += notes
    return _finished(plan)


def _finished(plan: _Plan) -> tuple[list[PlannedStack], list[Note]]:
    stacks = plan.stacks if plan.plane else _one_plane(plan.stacks, plan.notes)
    total = sum(len(stack.frames) for stack in stacks)
    if 0 < total < plan.settings.min_slices:
        found = f"{total} slices, convert.min_slices is {plan.settings.min_slices}"
        plan.notes.append(Note(None, "TOO_FEW_SLICES", found, "series left out"))
        stacks = []
    for stack in stacks:
        stack.copies.update(
            {n: plan.copies[id(f)] for n, f in enumerate(stack.frames) if id(f) in plan.copies}
        )
    return sorted(stacks, key=_order(plan.plane)), plan.notes


def _order(plane: str | None) -> Callable[[PlannedStack], tuple[object, ...]]:
    axis = {"sagittal": 0, "axial": 2}.get(plane or "")

    def key(stack: PlannedStack) -> tuple[object, ...]:
        middle = stack.middle_mm
        first = float(middle @ stack.normal) if axis is None else float(middle[axis])
        place = (round(first, 6), *np.round(stack.affine.ravel(), 6).tolist())
        return (*place, *min(map(source_rank, stack.frames)))

    return key


def _note_series(frames: list[Frame], notes: list[Note]) -> None:
    counts = series_uids(frames)
    if counts:
        files = ", ".join(str(count) for count in sorted(counts.values(), reverse=True)[:8])
        found = f"the folder holds files of {len(counts)} series: {files}"
        notes.append(Note(None, "OTHER_SERIES", found, "each is converted by itself"))


def _faces_the_plane(group: Parallel | Turned, plan: _Plan) -> bool:
    """Whether a group can be used; else its slices are noted as left out."""
    if isinstance(group, Turned):
        allowed = plan.settings.orientation_tolerance_degrees
        found = (
            f"{len(group.frames)} slices between one another are turned by up to "
            f"{group.degrees:.2f} degrees; that moves voxels by {group.moved_mm:.2f} mm, more "
            f"than half a pixel ({half_pixel_mm(group.frames[0]):.2f} mm), and "
            f"convert.orientation_tolerance_degrees is {allowed:g}"
        )
        plan.notes += leave_out(group.frames, "TURNED_SLICES", found)
        return False
    if plan.plane:
        tilt = tilt_degrees(group.frames[0].orientation, plan.plane)
        if tilt > plan.settings.max_tilt_degrees:
            found = f"{len(group.frames)} slices tilted {tilt:.1f} degrees from the "
            plan.notes += leave_out(group.frames, "MIXED_ORIENTATION", f"{found}{plan.plane} plane")
            return False
    return True


def _one_plane(stacks: list[PlannedStack], notes: list[Note]) -> list[PlannedStack]:
    """Without a described plane, refuse a series whose stacks face different patient axes."""
    axes = {int(np.abs(stack.normal).argmax()) for stack in stacks}
    if len(axes) < 2:
        return stacks
    found = f"stacks face {len(axes)} patient axes and no plane is described"
    notes.append(Note(None, "MIXED_ORIENTATION", found, "series left out"))
    return []


def _without_fragments(
    groups: list[tuple[int, Parallel]], plan: _Plan, names: str
) -> list[Parallel]:
    """The groups but for a few slices of one source among many of another (a saved screen).

    A note says so where sources that lie over one another have other positions each.
    """
    if len({source for source, _ in groups}) < 2:
        return [group for _, group in groups]
    near_mm = plan.settings.duplicate_tolerance_mm
    positions = [len(positions_by_height(group.heights_mm, near_mm)) for _, group in groups]
    kept, unequal = [], False
    sources = np.array([source for source, _ in groups])
    among = _Among([group for _, group in groups])
    for place, (source, group) in enumerate(groups):
        over = [
            (positions[number], groups[number][1])
            for number in np.flatnonzero(among.of(group) & (sources != source))
        ]
        most = max((count for count, _ in over), default=0)
        if positions[place] < min(plan.settings.min_run_slices, most):
            found = f"{len(group.frames)} slices of another source than those around them ({names})"
            plan.notes += leave_out(group.frames, "OTHER_SOURCE", found)
            continue
        kept.append(group)
        unequal |= any(_of_other_places(group, other, near_mm) for _, other in over)
    if unequal and len(kept) > 1:
        counts = ", ".join(str(len(group.frames)) for group in kept[:8])
        found = f"slices of several sources, told apart by {names}: {counts}"
        plan.notes.append(Note(None, "SEVERAL_SOURCES", found, "volumes of their own"))
    return kept


def _of_other_places(group: Parallel, other: Parallel, near_mm: float) -> bool:
    """Whether two groups that lie over one another do not have the same positions."""
    own = group.positions_mm @ other.normal
    apart = np.abs(own[:, None] - other.heights_mm[None])
    return bool(max(apart.min(axis=1).max(), apart.min(axis=0).max()) > near_mm)


class _Among:
    """Between the outer slices of which groups others lie."""

    def __init__(self, groups: list[Parallel]) -> None:
        self._normals = np.array([group.normal for group in groups]).reshape(-1, 3)
        ends = [(group.heights_mm.min(), group.heights_mm.max()) for group in groups]
        self._lowest, self._highest = np.array(ends).reshape(-1, 2).T
        self._beside = np.array(
            [0.0 if is_derived(group.frames[0]) else _step(group) for group in groups]
        )

    def of(self, group: Parallel) -> NDArray[np.bool_]:
        """For each of the groups (n,) whether ``group`` lies within; also one step beside.

        One step beside counts for derived pictures next to originals alone: a saved screen of a
        slice that is lost.
        """
        own = group.positions_mm @ self._normals.T
        beside = self._beside * 1.01 if is_derived(group.frames[0]) else 0.0
        alike = np.abs(self._normals @ group.normal) >= _SAME_WAY
        within = (own.min(axis=0) <= self._highest + beside) & (
            self._lowest - beside <= own.max(axis=0)
        )
        return alike & within


def _step(group: Parallel) -> float:
    heights = np.sort(group.heights_mm)
    return float(np.median(np.diff(heights))) if len(heights) > 1 else 0.0


def _volumes(group: Parallel, plan: _Plan) -> list[Parallel]:
    """Split parallel slices of one source so that each volume has one slice a position."""
    settings = plan.settings
    if not group.frames:
        return []
    if shares_positions(group, settings):
        group = _without_copies(group, plan)
    places = shares_positions(group, settings)
    if places is None:
        parts = parts_off_one_line(group, settings)
    elif len(places) == 1:
        text = f"all {len(group.frames)} images say the same position"
        plan.notes += leave_out(group.frames, "NOT_A_VOLUME", text)
        return []
    else:
        parts = parts_at_shared_positions(group, places, settings.spacing_tolerance_mm)
        if parts is None:
            # A damaged slice is no rival of a sound one.
            sound = _without_undecodable(group, places, plan)
            if len(sound.frames) < len(group.frames):
                return _volumes(sound, plan)
            group = _without_ambiguous(group, places, plan)
    if parts is None:
        return [group] if group.frames else []
    return _largest_parts(group, parts, plan)


def _without_copies(group: Parallel, plan: _Plan) -> Parallel:
    """Drop slices that repeat another's position and pixels."""
    places = positions_by_height(group.heights_mm, plan.settings.duplicate_tolerance_mm)
    copies = find_copies(group.frames, places)
    for copy, kept in sorted(copies.items(), key=lambda item: group.frames[item[0]].file):
        frame, stays = group.frames[copy], group.frames[kept]
        text = f"a copy of {plain_name(stays.file)}"
        plan.notes.append(Note(frame.file, "DUPLICATE_SLICE", text, "slice left out"))
        plan.copies.setdefault(id(stays), []).append(frame)
    return group.subset([n for n in range(len(group.frames)) if n not in copies])


def _without_undecodable(group: Parallel, places: list[NDArray[np.int64]], plan: _Plan) -> Parallel:
    shared = [number for place in places if len(place) > 1 for number in place.tolist()]
    refused = undecodable(group.frames, shared)
    for number, why in refused.items():
        file = group.frames[number].file
        plan.notes.append(Note(file, why.code, why.found, "slice left out"))
    return group.subset([n for n in range(len(group.frames)) if n not in refused])


def _without_ambiguous(group: Parallel, places: list[NDArray[np.int64]], plan: _Plan) -> Parallel:
    """Leave out the images at positions of several that nothing tells apart."""
    shared = [place for place in places if len(place) > 1]
    frames = [group.frames[number] for place in shared for number in place]
    most = max(len(place) for place in shared)
    text = f"{most} images at each of {len(shared)} positions, of {len(places)} in all"
    plan.notes += leave_out(frames, "AMBIGUOUS_VOLUMES", text)
    alone = np.array([place[0] for place in places if len(place) == 1], dtype=np.int64)
    return group.subset(np.sort(alone))


def _largest_parts(group: Parallel, parts: list[list[int]], plan: _Plan) -> list[Parallel]:
    """The parts as volumes; a few slices beside a larger part are left out by name."""
    volumes = [group.subset(part) for part in parts]
    most = max(len(part) for part in parts)
    large = [v for v in volumes if len(v.frames) >= min(plan.settings.min_run_slices, most)]
    for volume in volumes:
        if any(volume is one for one in large):
            continue
        for frame, height in zip(volume.frames, volume.heights_mm, strict=True):
            rival = _at_height(large, float(height), plan.settings.duplicate_tolerance_mm)
            if rival is None:
                text = f"{len(volume.frames)} slices of another acquisition than those around them"
                plan.notes.append(Note(frame.file, "OTHER_SOURCE", text, "slice left out"))
            else:
                text = f"another image at the position of {plain_name(rival.file)}"
                plan.notes.append(Note(frame.file, "DUPLICATE_SLICE", text, "slice left out"))
    if len({len(volume.frames) for volume in large}) > 1:
        counts = ", ".join(str(len(volume.frames)) for volume in large[:8])
        text = f"acquisitions or blocks that lie over one another: {counts} slices"
        plan.notes.append(Note(None, "SEVERAL_SOURCES", text, "volumes of their own"))
    return large


def _at_height(volumes: list[Parallel], height_mm: float, near_mm: float) -> Frame | None:
    for volume in volumes:
        apart = np.abs(volume.heights_mm - height_mm)
        if apart.min() <= near_mm:
            return volume.frames[int(apart.argmin())]
    return None
