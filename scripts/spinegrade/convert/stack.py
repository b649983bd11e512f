"""One volume's slices cut into stacks that each have one true affine."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spinegrade.convert.header import Frame
from spinegrade.convert.parallel import (
    Parallel,
    half_pixel_mm,
    moved_mm,
    stack_affine_orientation,
    turned_degrees,
)
from spinegrade.convert.refusals import Refused, plain_name
from spinegrade.convert.settings import ConvertSettings
from spinegrade.geometry.affine import Affine, affine_from_dicom, to_mm
from spinegrade.geometry.lines import even_line, position_tolerances_mm, rounded_to_mm
from spinegrade.geometry.stacks import Cut, shear_degrees, short_runs, split_runs

# What is told of a stack from here on: positions this far off the even line, axes this far apart.
_NOTED_MM, _NOTED_DEGREES = 0.02, 0.01


@dataclass(frozen=True)
class PlannedStack:
    """Slices of one volume in index order, with the affine to LPS mm and the unit normal.

    ``copies``: by index, the slices that were left out as copies of the one kept there.
    """

    frames: list[Frame]
    affine: Affine
    normal: NDArray[np.float64]
    copies: dict[int, list[Frame]] = field(default_factory=dict)

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


def leave_out(group: list[Frame], code: str, found: str) -> list[Note]:
    """A note for each file of ``group``."""
    files = sorted({frame.file for frame in group})
    return [Note(file, code, found, "slice left out") for file in files]


def stacks_of(volume: Parallel, settings: ConvertSettings) -> tuple[list[PlannedStack], list[Note]]:
    """The stacks of slices of which no two share a position; see docs/refusals.md, GAP."""
    order = np.argsort(volume.heights_mm, kind="stable")
    ordered = volume.subset(order)
    runs, cuts = split_runs(
        ordered.positions_mm, volume.normal, settings.spacing_tolerance_mm, settings.max_spacing_mm
    )
    short = short_runs(runs, cuts, settings.min_run_slices, settings.max_spacing_mm)
    # Only steps that repeat say how wide a step should be.
    known = max(map(len, runs)) > 2
    missing = [_missing(ordered, cut, settings) if known else 0 for cut in cuts]
    notes = [
        _cut_note(ordered.frames, cut, room)
        for cut, room in zip(cuts, missing, strict=True)
        if cut.found_mm <= settings.max_spacing_mm
    ]
    stacks = []
    for number, run in enumerate(runs):
        part = ordered.subset(list(run))
        if number in short:
            code = "GAP" if any(missing[max(number - 1, 0) : number + 1]) else "UNEVEN_STEPS"
            text = f"{len(run)} slices beside a cut, convert.min_run_slices is "
            notes += leave_out(part.frames, code, f"{text}{settings.min_run_slices}")
            continue
        try:
            stack, told = _stack(part, settings)
        except Refused as refused:
            notes += leave_out(part.frames, refused.code, refused.found)
        else:
            stacks.append(stack)
            notes += told
    return stacks, notes


def _missing(ordered: Parallel, cut: Cut, settings: ConvertSettings) -> int:
    """How many slices are missing at a cut; 0 where no whole number of steps fits."""
    steps = round(cut.found_mm / cut.expected_mm) if cut.expected_mm > 0 else 0
    off = abs(cut.found_mm - steps * cut.expected_mm)
    allowed = position_tolerances_mm(
        ordered.positions_mm, cut.expected_mm, settings.spacing_tolerance_mm
    )
    return max(steps - 1, 0) if off <= 2 * max(allowed) else 0


def _cut_note(frames: list[Frame], cut: Cut, missing: int) -> Note:
    after = frames[cut.before + 1].file
    between = f"{plain_name(frames[cut.before].file)} to {plain_name(after)}"
    found = f"{cut.found_mm:.3f} mm from {between}, expected {cut.expected_mm:.3f} mm"
    found += f": room for {missing} more" if missing else ": no whole number of steps"
    code = "GAP" if missing else "UNEVEN_STEPS"
    return Note(after, code, found, "slices kept, cut into volumes here")


def _stack(part: Parallel, settings: ConvertSettings) -> tuple[PlannedStack, list[Note]]:
    """The stack of a run of slices and what is told of it. Raises Refused."""
    frames = part.frames
    orientation = stack_affine_orientation(part, frames)
    spacing = frames[len(frames) // 2].spacing_mm
    if len(frames) == 1:
        step = part.normal * (frames[0].step_mm or 1.0)
        affine = affine_from_dicom(orientation, spacing, part.positions_mm[0], step)
        return PlannedStack(frames, affine, part.normal), []
    line = even_line(part.positions_mm)
    shear = shear_degrees(line.step, part.normal)
    if shear > settings.max_shear_degrees:
        raise Refused("GANTRY_TILT", f"slices are shifted {shear:.2f} degrees off their normal")
    notes = []
    step_mm = float(np.linalg.norm(line.step))
    _, allowed = position_tolerances_mm(part.positions_mm, step_mm, settings.spacing_tolerance_mm)
    if line.apart_mm > allowed:
        found = f"positions lie up to {line.apart_mm:.3f} mm off an even line"
        raise Refused("UNEVEN_STEPS", found)
    if line.apart_mm > _NOTED_MM:
        found = f"positions lie up to {line.apart_mm:.3f} mm off an even line of {step_mm:.3f} mm"
        rounded = rounded_to_mm(part.positions_mm)
        found += f"; they are written in steps of {rounded:g} mm" if rounded else ""
        notes.append(Note(None, "UNEVEN_A_LITTLE", found, "one volume on the even line"))
    notes += _turned(part, orientation, settings)
    affine = affine_from_dicom(orientation, spacing, line.first, line.step)
    return PlannedStack(frames, affine, part.normal), notes


def _turned(
    part: Parallel, orientation: NDArray[np.float64], settings: ConvertSettings
) -> list[Note]:
    """A note where slices are turned against each other. Raises Refused beyond half a pixel."""
    if len({id(frame.orientation) for frame in part.frames}) == 1:
        return []
    degrees = turned_degrees(part.frames, orientation)
    if degrees <= _NOTED_DEGREES:
        return []
    moved, most = (
        moved_mm(part.frames, part.positions_mm, orientation),
        half_pixel_mm(part.frames[0]),
    )
    allowed = settings.orientation_tolerance_degrees
    found = f"slices are turned by up to {degrees:.2f} degrees against their stack; that moves "
    found += f"voxels by up to {moved:.2f} mm (half a pixel: {most:.2f} mm)"
    if moved > most and degrees > allowed:
        found += f" and convert.orientation_tolerance_degrees is {allowed:g}"
        raise Refused("TURNED_SLICES", found)
    return [Note(None, "TURNED_A_LITTLE", found, "one volume of their mean orientation")]
