"""Probabilities of the three grades of a cell, and whose they are."""

from __future__ import annotations

from spinegrade.tables.cell_columns import CELL
from spinegrade.tables.columns import STUDY, real, text, whole

PROBABILITY_COLUMNS = ("p_normal_mild", "p_moderate", "p_severe")
GRADE_PROBABILITIES = {column: real(0.0, 1.0) for column in PROBABILITY_COLUMNS}
PREDICTION = {
    **STUDY,
    **CELL,
    **GRADE_PROBABILITIES,
    "classifier": text(),
    "fold": whole(0, nullable=True),
}
