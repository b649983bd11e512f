"""The lumbar spine in MRI, as the RSNA 2024 competition has it.

The order of ``CONDITIONS``, ``LUMBAR_LEVELS`` and ``GRADES`` is that of the columns of its
``train.csv``.
"""

from __future__ import annotations

from spinegrade.regions.region import Cell, Region, Target

LUMBAR_LEVELS = ("l1_l2", "l2_l3", "l3_l4", "l4_l5", "l5_s1")
SPINAL = "spinal_canal_stenosis"
FORAMINAL = "neural_foraminal_narrowing"
SUBARTICULAR = "subarticular_stenosis"
CONDITIONS = (SPINAL, FORAMINAL, SUBARTICULAR)
_SIDES = {
    SPINAL: ("central",),
    FORAMINAL: ("left", "right"),
    SUBARTICULAR: ("left", "right"),
}

GRADES = (0, 1, 2)
GRADE_NAMES = ("normal_mild", "moderate", "severe")
GRADE_WEIGHTS = (1.0, 2.0, 4.0)

LUMBAR_CELLS = tuple(
    Cell(condition, level, side)
    for condition, sides in _SIDES.items()
    for side in sides
    for level in LUMBAR_LEVELS
)
"""The 25 lumbar cells in the column order of ``train.csv``."""

TARGETS = {
    "foraminal": Target(
        "foraminal",
        "sagittal",
        "t1",
        tuple(
            Cell(FORAMINAL, level, side) for side in _SIDES[FORAMINAL] for level in LUMBAR_LEVELS
        ),
    ),
    "canal": Target(
        "canal",
        "sagittal",
        "t2",
        tuple(Cell(SPINAL, level, "central") for level in LUMBAR_LEVELS),
    ),
    "subarticular": Target(
        "subarticular",
        "axial",
        "t2",
        tuple(Cell(SUBARTICULAR, "", side) for side in _SIDES[SUBARTICULAR]),
    ),
}

LUMBAR_MRI = Region(
    name="lumbar_mri",
    spine="lumbar",
    levels=LUMBAR_LEVELS,
    sides=_SIDES,
    cells=LUMBAR_CELLS,
    grade_names=GRADE_NAMES,
    grade_weights=GRADE_WEIGHTS,
    overall=SPINAL,
    metric="rsna2024",
    targets=TARGETS,
)
