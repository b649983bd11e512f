"""How the files of the RSNA 2024 competition spell cells, grades and series."""

from __future__ import annotations

from spinegrade.regions.lumbar_mri import CONDITIONS, LUMBAR_CELLS, LUMBAR_LEVELS, SPINAL

KAGGLE_GRADES = {"Normal/Mild": 0, "Moderate": 1, "Severe": 2}
# Series descriptions: (plane, weighting). The competition names T2 and STIR alike, so "t2" here
# means "fluid bright".
KAGGLE_SERIES = {
    "Sagittal T1": ("sagittal", "t1"),
    "Sagittal T2/STIR": ("sagittal", "t2"),
    "Axial T2": ("axial", "t2"),
}
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
