"""The grades of a cohort: one row a cell of every train study, a missing grade is null."""

from __future__ import annotations

from spinegrade.tables.cell_columns import CELL, GRADE
from spinegrade.tables.columns import STUDY
from spinegrade.tables.files import Kind

LABELS = Kind(
    "labels",
    {**STUDY, **CELL, **GRADE},
    ("study", "condition", "level", "side"),
)
