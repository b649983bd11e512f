"""The cell of a row: a condition at a level on a side, in the words of every region.

The words stand here and not with their regions, so that no table depends on a region's module. A
test holds that a region has no others.
"""

from __future__ import annotations

from spinegrade.tables.columns import text, whole

CONDITIONS = (
    "spinal_canal_stenosis",
    "neural_foraminal_narrowing",
    "subarticular_stenosis",
    "fracture",
)
LEVELS = ("l1_l2", "l2_l3", "l3_l4", "l4_l5", "l5_s1", *(f"c{n}" for n in range(1, 8)))
SIDES = ("left", "right", "central")
CELL = {"condition": text(CONDITIONS), "level": text(LEVELS), "side": text(SIDES)}
GRADE = {"grade": whole(0, 2, nullable=True)}
