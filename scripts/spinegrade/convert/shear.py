"""What is told of volumes whose axes are not at right angles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from spinegrade.convert.nifti import QFORM_MOVE_PX, place_header
from spinegrade.convert.plan import Note, PlannedStack
from spinegrade.convert.refusals import plain_name
from spinegrade.geometry.rigid import axes_shear_degrees

# From here on sform and qform say different things to a program that checks: ITK takes a sform
# for perpendicular up to about 0.0057 degrees.
_LEAST_DEGREES = 0.005


def shear_notes(stacks: Sequence[PlannedStack]) -> Iterator[Note]:
    """A note for each sheared stack. All of its slices stay, each where its header says."""
    for number, stack in enumerate(stacks):
        shear = axes_shear_degrees(stack.affine)
        if shear <= _LEAST_DEGREES:
            continue
        pixels = stack.frames[0].pixels
        shape = (len(stack.frames), pixels.rows, pixels.cols)
        header, moved_mm = place_header(stack.affine, shape)
        half_mm = QFORM_MOVE_PX * float(np.linalg.norm(stack.affine[:3, :2], axis=0).min())
        found = (
            f"volume {number}, from {plain_name(stack.frames[0].file)}: axes {shear:.3f} degrees "
            f"off right angles, for readers of the qform up to {moved_mm:.3f} mm off its place"
        )
        if header["qform_code"]:
            yield Note(None, "SHEARED", found, "slices kept")
        else:
            found += f", half a pixel is {half_mm:.3f} mm"
            yield Note(None, "NO_QFORM", found, "slices kept, written without a qform")
