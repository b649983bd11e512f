"""What the phantom knows, and nothing but scoring and tests may read: one row a cell."""

from __future__ import annotations

import pandera.pandas as pa

from spinegrade.tables.cell_columns import CELL, GRADE
from spinegrade.tables.columns import POINT_MM, STUDY, real, text
from spinegrade.tables.files import Kind
from spinegrade.tables.prediction_columns import GRADE_PROBABILITIES

TRUTH = Kind(
    "truth",
    {
        **STUDY,
        **CELL,
        "narrowing": real(0.0, 1.0),
        **GRADE_PROBABILITIES,
        **GRADE,
        "mislabelled": pa.Column("bool", coerce=True),
        **POINT_MM,
        "anatomy": text(("typical", "four_lumbar", "six_lumbar")),
    },
    ("study", "condition", "level", "side"),
)
