"""Which slices of a series make which volume: the rules, before a pixel is decoded."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinegrade.convert.header import Frame
from spinegrade.convert.pixels import frame_bytes
from spinegrade.convert.refusals import Refused, plain_name
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.tags import VOLUME_TAGS
from spinegrade.geometry.affine import Affine, affine_from_dicom, to_mm
from spinegrade.geometry.stacks import (
    Cut,
    group_orientations,
    group_spacings,
    growing_normal,
    mean_step,
    positions_by_height,
    split_runs,
    tilt_degrees,
)

# Frames times combinations of tags that are tried: all of them for any scan, and no more than
# some seconds for a hostile one.
_MOST_WORK = 3_000_000


@dataclass(frozen=True)
class PlannedStack:
    """Slices of one volume in index order, with the affine to LPS mm and the unit normal."""

    frames: list[Frame]
    affine: Affine
    normal: NDArray[np.float64]

    @property
    def middle_mm(self) -> NDArray[np.float64]:
        """Centre of the stack's box, (3,) LPS mm."""
        pixels = self.frames[0].pixels
        corner = [pixels.cols - 1, pixels.rows - 1, len(self.frames) - 1]
        return to_mm(self.affine, [np.array(corner) / 2])[0]


@dataclass(frozen=True)
class Note:
    """A row for the rejected table: ``file`` (None: the group), code, found, what was done."""

    file: str | None
    code: str
    found: str
    action: str


def plan_series(
    frames: list[Frame], plane: str | None, settings: ConvertSettings
) -> tuple[list[PlannedStack], list[Note]]:
    """Stacks of a series, ordered along the plane's axis, and what was left out or cut.

    ``plane`` (sagittal, axial): slices of another plane are left out; with None a series
    of several planes is refused. Order and numbering come from patient positions alone.
    """
    notes: list[Note] = []
    stacks: list[PlannedStack] = []
    for group in _groups(frames, settings):
        if plane:
            tilt = tilt_degrees(group[0].orientation, plane)
            if tilt > settings.max_tilt_degrees:
                found = f"{len(group)} slices tilted {tilt:.1f} degrees from the {plane} plane"
                notes += _leave_out(group, "MIXED_ORIENTATION", found)
                continue
        for volume in _volumes(group, plane, settings, notes):
            stacks += _runs(volume, plane, settings, notes)
    if plane is None:
        stacks = _one_plane(stacks, notes)
    total = sum(len(stack.frames) for stack in stacks)
    if 0 < total < settings.min_slices:
        found = f"{total} slices, convert.min_slices is {settings.min_slices}"
        notes.append(Note(None, "TOO_FEW_SLICES", found, "series left out"))
        stacks = []
    return sorted(stacks, key=_order(plane)), notes


def _order(plane: str | None) -> Callable[[PlannedStack], tuple[float, ...]]:
    axis = {"sagittal": 0, "axial": 2}.get(plane or "")

    def key(stack: PlannedStack) -> tuple[float, ...]:
        middle = stack.middle_mm
        first = float(middle @ stack.normal) if axis is None else float(middle[axis])
        return (round(first, 6), *np.round(stack.affine.ravel(), 6).tolist())

    return key


def _leave_out(group: list[Frame], code: str, found: str) -> list[Note]:
    files = sorted({frame.file for frame in group})
    return [Note(file, code, found, "slice left out") for file in files]


def _groups(frames: list[Frame], settings: ConvertSettings) -> Iterator[list[Frame]]:
    """Frames that share orientation, matrix size and pixel spacing."""
    orientation = group_orientations(
        np.array([frame.orientation for frame in frames]), settings.orientation_tolerance_degrees
    )
    spacing = group_spacings(np.array([frame.spacing_mm for frame in frames]))
    members: dict[tuple[int, ...], list[Frame]] = {}
    for place, frame in enumerate(frames):
        size = (frame.pixels.rows, frame.pixels.cols)
        members.setdefault((orientation[place], spacing[place], *size), []).append(frame)
    for key in sorted(members):
        yield members[key]


def _one_plane(stacks: list[PlannedStack], notes: list[Note]) -> list[PlannedStack]:
    """Without a described plane, refuse a series whose stacks face different patient axes."""
    axes = {int(np.abs(stack.normal).argmax()) for stack in stacks}
    if len(axes) < 2:
        return stacks
    found = f"stacks face {len(axes)} patient axes and no plane is described"
    notes.append(Note(None, "MIXED_ORIENTATION", found, "series left out"))
    return []


def _heights(group: list[Frame], plane: str | None) -> tuple[NDArray[np.float64], ...]:
    normal = growing_normal(group[0].orientation, plane)
    positions = np.array([frame.position_mm for frame in group])
    return normal, positions, positions @ normal


def _volumes(
    group: list[Frame], plane: str | None, settings: ConvertSettings, notes: list[Note]
) -> list[list[Frame]]:
    """Split frames so that each volume has one frame a position."""
    _, _, heights = _heights(group, plane)
    places = positions_by_height(heights, settings.duplicate_tolerance_mm)
    if len(places) == len(group):
        return [group]
    kept = _without_copies(group, places, notes)
    _, _, heights = _heights(kept, plane)
    places = positions_by_height(heights, settings.duplicate_tolerance_mm)
    if len(places) == len(kept):
        return [kept]
    if len(places) == 1:
        notes += _leave_out(kept, "NOT_A_VOLUME", f"{len(kept)} images at one position")
        return []
    found = _split_by_tags(kept, places) or _split_by_numbers(kept, places)
    if found:
        return found
    if len({len(place) for place in places}) == 1:
        found_text = f"{len(places[0])} images at each of {len(places)} positions"
        notes += _leave_out(kept, "AMBIGUOUS_VOLUMES", found_text)
        return []
    single: list[Frame] = []
    for place in places:
        rivals = sorted((kept[p] for p in place), key=lambda f: (f.instance_number, f.file))
        single.append(rivals[0])
        for rival in rivals[1:]:
            text = f"another image at the position of {plain_name(rivals[0].file)}"
            notes.append(Note(rival.file, "DUPLICATE_SLICE", text, "slice left out"))
    return [single]


def _without_copies(
    group: list[Frame], places: list[NDArray[np.int64]], notes: list[Note]
) -> list[Frame]:
    """Drop slices that repeat another's position and pixels byte for byte."""
    kept = []
    for place in places:
        seen: dict[tuple[object, ...], Frame] = {}
        for frame in sorted((group[p] for p in place), key=lambda f: (f.instance_number, f.file)):
            if len(place) == 1:
                kept.append(frame)
                continue
            key: tuple[object, ...] = (frame.file, frame.number)
            try:
                pixels = bytes(frame_bytes(frame))
                key = (pixels, frame.slope, frame.intercept, *np.round(frame.position_mm, 3))
            except Refused:
                pass  # decoding will refuse this slice by name
            if key in seen:
                text = f"a copy of {plain_name(seen[key].file)}"
                notes.append(Note(frame.file, "DUPLICATE_SLICE", text, "slice left out"))
            else:
                seen[key] = frame
                kept.append(frame)
    return kept


def _split_by_tags(group: list[Frame], places: list[NDArray[np.int64]]) -> list[list[Frame]] | None:
    """Volumes by the first tag, pair or triple of which each value covers every position once."""
    at = np.empty(len(group), np.int64)
    for number, place in enumerate(places):
        at[place] = number
    present = [tag for tag in VOLUME_TAGS if len({frame.tags.get(tag) for frame in group}) > 1]
    combinations = itertools.chain.from_iterable(
        itertools.combinations(present, count) for count in (1, 2, 3)
    )
    for tags in itertools.islice(combinations, max(len(present), _MOST_WORK // len(group))):
        volumes: dict[tuple[str, ...], list[int]] = {}
        for number, frame in enumerate(group):
            value = tuple(repr(frame.tags.get(tag)) for tag in tags)
            volumes.setdefault(value, []).append(number)
        if all(len(set(at[members])) == len(members) for members in volumes.values()) and all(
            len(members) == len(places) for members in volumes.values()
        ):
            ordered = sorted(
                volumes, key=lambda value: min(_rank(group[n]) for n in volumes[value])
            )
            return [[group[n] for n in volumes[value]] for value in ordered]
    return None


def _split_by_numbers(
    group: list[Frame], places: list[NDArray[np.int64]]
) -> list[list[Frame]] | None:
    """Volumes by the rank of the instance number at each position, where no other tag differs.

    Older functional and diffusion series carry nothing else. Only for numbers that clearly run
    volume by volume or position by position: all numbers of one before all of the next.
    """
    numbers = np.array([frame.instance_number for frame in group])
    counts = {len(place) for place in places}
    if len(counts) != 1 or len(set(numbers.tolist())) != len(numbers):
        return None
    ranked = np.array([place[np.argsort(numbers[place])] for place in places])
    table = numbers[ranked]  # (positions, volumes)
    by_volume = (table.min(axis=0)[1:] > table.max(axis=0)[:-1]).all()
    order = np.argsort(table.min(axis=1))
    by_position = (table.min(axis=1)[order][1:] > table.max(axis=1)[order][:-1]).all()
    if not (by_volume or by_position):
        return None
    return [[group[place] for place in column] for column in ranked.T]


def _rank(frame: Frame) -> tuple[int, str, int]:
    return frame.instance_number, frame.file, frame.number


def _runs(
    volume: list[Frame], plane: str | None, settings: ConvertSettings, notes: list[Note]
) -> list[PlannedStack]:
    """Cut one volume's slices where their positions are uneven; see docs/refusals.md, GAP."""
    normal, positions, heights = _heights(volume, plane)
    order = np.argsort(heights, kind="stable")
    frames = [volume[place] for place in order]
    runs, cuts = split_runs(
        positions[order], normal, settings.spacing_tolerance_mm, settings.max_spacing_mm
    )
    short = _short_runs(runs, cuts, settings)
    for cut in cuts:
        if cut.found_mm <= settings.max_spacing_mm:
            notes.append(_gap_note(frames, cut))
    planned = []
    for number, run in enumerate(runs):
        members = [frames[place] for place in run]
        if number in short:
            text = f"{len(run)} slices beside a gap, convert.min_run_slices is "
            notes += _leave_out(members, "GAP", f"{text}{settings.min_run_slices}")
            continue
        try:
            planned.append(PlannedStack(members, _affine(members, normal, settings), normal))
        except Refused as refused:
            notes += _leave_out(members, refused.code, refused.found)
    return planned


def _short_runs(runs: list[range], cuts: list[Cut], settings: ConvertSettings) -> set[int]:
    """Runs too short to stand alone beside a gap; blocks farther apart are not gaps."""
    near = [cut.found_mm <= settings.max_spacing_mm for cut in cuts]
    beside = [any(near[max(n - 1, 0) : n + 1]) for n in range(len(runs))]
    return {n for n, run in enumerate(runs) if beside[n] and len(run) < settings.min_run_slices}


def _gap_note(frames: list[Frame], cut: Cut) -> Note:
    after = frames[cut.before + 1].file
    between = f"{plain_name(frames[cut.before].file)} to {plain_name(after)}"
    found = f"{cut.found_mm:.3f} mm from {between}, expected {cut.expected_mm:.3f} mm"
    return Note(after, "GAP", found, "slices kept, cut into volumes here")


def _affine(frames: list[Frame], normal: NDArray[np.float64], settings: ConvertSettings) -> Affine:
    """The affine of slices in index order. Raises Refused for a shear or uneven positions."""
    positions = np.array([frame.position_mm for frame in frames])
    if len(frames) == 1:
        step = normal * (frames[0].step_mm or 1.0)
    else:
        step, error, shear = mean_step(positions, normal)
        if shear > settings.max_shear_degrees:
            raise Refused("GANTRY_TILT", f"slices are shifted {shear:.2f} degrees off their normal")
        if error > 2 * settings.spacing_tolerance_mm:
            raise Refused("GAP", f"positions lie up to {error:.3f} mm off an even line")
    orientation = frames[len(frames) // 2].orientation
    spacing = frames[len(frames) // 2].spacing_mm
    return affine_from_dicom(orientation, spacing, positions[0], step)
