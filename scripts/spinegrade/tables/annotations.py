"""What contradicts in the annotated points: one row a point and code."""

from __future__ import annotations

import pandera.pandas as pa

from spinegrade.tables.cell_columns import CELL
from spinegrade.tables.columns import STUDY, text, whole
from spinegrade.tables.files import Kind

# left_out: whether the point is left out of training (for this code or another one of its own).
ANNOTATIONS = Kind(
    "annotations",
    {
        **STUDY,
        "series": text(),
        "instance_number": whole(0),
        **CELL,
        "code": text(),
        "found": text(),
        "expected": text(),
        "left_out": pa.Column("bool", coerce=True),
    },
)
