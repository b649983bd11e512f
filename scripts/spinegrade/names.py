"""The words that every room uses: levels, sides, conditions, grades, and their order.

Left and right are always the patient's. The order of ``CONDITIONS``, ``LEVELS`` and
``GRADES`` is the order of the columns of the RSNA 2024 ``train.csv``.
"""

from __future__ import annotations

from typing import NamedTuple

LUMBAR_LEVELS = ("l1_l2", "l2_l3", "l3_l4", "l4_l5", "l5_s1")
SIDES = ("left", "right", "central")
SPINAL = "spinal_canal_stenosis"
FORAMINAL = "neural_foraminal_narrowing"
SUBARTICULAR = "subarticular_stenosis"
CONDITIONS = (SPINAL, FORAMINAL, SUBARTICULAR)

GRADES = (0, 1, 2)
GRADE_NAMES = ("normal_mild", "moderate", "severe")
GRADE_WEIGHTS = (1.0, 2.0, 4.0)
PROBABILITY_COLUMNS = ("p_normal_mild", "p_moderate", "p_severe")
SOURCES = ("image", "outside", "prior")
"""Where a combined probability comes from: members that this run made from the study's images, a
table that others made and no member of this run, or the prior alone."""
KAGGLE_GRADES = {"Normal/Mild": 0, "Moderate": 1, "Severe": 2}

PLANES = ("sagittal", "axial")
WEIGHTINGS = ("t1", "t2", "stir", "ct")
# Series descriptions of the RSNA 2024 data: (plane, weighting). The competition
# names T2 and STIR alike, so "t2" here means "fluid bright".
KAGGLE_SERIES = {
    "Sagittal T1": ("sagittal", "t1"),
    "Sagittal T2/STIR": ("sagittal", "t2"),
    "Axial T2": ("axial", "t2"),
}


class Cell(NamedTuple):
    """One graded place of a study: a condition at a level on a side."""

    condition: str
    level: str
    side: str

    @property
    def column(self) -> str:
        """The cell's name in ``train.csv`` and, after the study, in ``row_id``."""
        prefix = "" if self.side == "central" else f"{self.side}_"
        return f"{prefix}{self.condition}_{self.level}"


def _lumbar_cells() -> tuple[Cell, ...]:
    groups = [(SPINAL, "central")]
    groups += [(c, s) for c in (FORAMINAL, SUBARTICULAR) for s in ("left", "right")]
    return tuple(Cell(c, level, side) for c, side in groups for level in LUMBAR_LEVELS)


LUMBAR_CELLS = _lumbar_cells()
"""The 25 lumbar cells in the column order of ``train.csv``."""

CELL_BY_COLUMN = {cell.column: cell for cell in LUMBAR_CELLS}


def kaggle_condition(text: str) -> tuple[str, str]:
    """(condition, side) of a coordinate row's condition, e.g. "Left Subarticular Stenosis".

    Raises KeyError for a condition that the competition does not know.
    """
    words = text.strip().lower().replace(" ", "_")
    for side in ("left", "right"):
        if words.startswith(side + "_") and words[len(side) + 1 :] in CONDITIONS[1:]:
            return words[len(side) + 1 :], side
    if words == SPINAL:
        return SPINAL, "central"
    raise KeyError(text)


def kaggle_level(text: str) -> str:
    """Level of a coordinate row, e.g. "L4/L5" -> "l4_l5"; raises KeyError if unknown."""
    level = text.strip().lower().replace("/", "_")
    if level not in LUMBAR_LEVELS:
        raise KeyError(text)
    return level


def row_id(study: str, cell: Cell) -> str:
    """The competition's row id of a cell, "<study>_<column>"."""
    return f"{study}_{cell.column}"


def mirrored(side: str) -> str:
    """The side that a left/right reflection turns ``side`` into."""
    return {"left": "right", "right": "left"}.get(side, side)


# Codes of rows that tell of something and cost no slice: a series may be good for all that.
NOTE_CODES = frozenset({"UNEVEN_A_LITTLE", "TURNED_A_LITTLE", "SHEARED", "SEVERAL_SOURCES"})
# Codes of places where slices are cut into volumes; those that are lost have a row of their own.
CUT_CODES = frozenset({"GAP", "UNEVEN_STEPS"})
