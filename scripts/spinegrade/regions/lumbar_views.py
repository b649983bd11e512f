"""How the arrays of the two-stage graders are laid out: the one place that says it.

Axes always come in the order study, sided condition, level, slice, channel, y, x; an array that
lacks one of them leaves it out. A *sided condition* is a condition on a side, in the order of
``SIDED_CONDITIONS``: canal, left and right foraminal, left and right subarticular; a level one of
``LUMBAR_LEVELS``. A grader of some sided conditions holds those alone, in this order.

===================  ====================================================  =====================
array                shape                                                 of
===================  ====================================================  =====================
sagittal crops       (study, sided condition, level, slice, y, x)          single view, axial_side
axial crops          (study, sided condition, level, slice, channel, y,    axial_side
                     x); stored without the axis of channels
grades               (study, sided condition, level), MISSING_GRADE where  single view, axial_side
                     none counts
crops of a level     (level, view, slice, y, x): a row is a level of any   all_view
                     study, the views are ``VIEWS``
slices of a level    (sequence, position, channel, y, x): a sequence is    all_view
                     of an axial stack, and ``owner`` (sequence) its row
grades of a level    (level, sided condition)                              all_view
logits               as the grades, and the three grades last              all
===================  ====================================================  =====================

Crops are uint8 as stored and float32 from -1 (black) to 1 as seen, grades int64, logits float32.
Sagittal slices run from the patient's right to left, axial ones from head to feet; y grows to
the feet (sagittal) or to the back (axial), x to the back (sagittal) or to the patient's left
(axial).
"""

from __future__ import annotations

from spinegrade.regions.lumbar_mri import LUMBAR_CELLS, LUMBAR_LEVELS
from spinegrade.regions.region import Cell

SIDED_CONDITIONS = tuple(dict.fromkeys((cell.condition, cell.side) for cell in LUMBAR_CELLS))
"""The five (condition, side) in the order of train.csv's columns."""

VIEWS = SIDED_CONDITIONS[:3]
"""What sagittal crops show: the canal on T2, the left and the right foramina on T1."""

VIEW_OF_CONDITION = (0, 1, 2, 0, 0)
"""For each sided condition the place in ``VIEWS`` of the crop that ``all_view`` grades it on."""

MISSING_GRADE = -1


def cell_of(sided_condition: int, level: int) -> Cell:
    """The cell of a place in ``SIDED_CONDITIONS`` and one in ``LUMBAR_LEVELS``."""
    condition, side = SIDED_CONDITIONS[sided_condition]
    return Cell(condition, LUMBAR_LEVELS[level], side)
