"""The levels that axial stacks show: one row a level of a stack."""

from __future__ import annotations

import pandera.pandas as pa

from spinegrade.tables.cell_columns import CELL
from spinegrade.tables.columns import STACK, real, text, whole
from spinegrade.tables.files import Kind

# start: where the stack's index 0 lies in slices.npy; z_index, first and last (inclusive) are
# indices of the stack. *_graded: whether the stack has an annotated point of that side at the
# level (null: a new study).
SEQUENCES = Kind(
    "sequences",
    {
        **STACK,
        "start": whole(0),
        "slices": whole(1),
        "level": CELL["level"],
        "z_index": real(),
        "first": whole(0),
        "last": whole(0),
        "left_graded": pa.Column("boolean", nullable=True, coerce=True),
        "right_graded": pa.Column("boolean", nullable=True, coerce=True),
        "confidence": real(0.0, 1.0),
        "source": text(),
        "fold": whole(0, nullable=True),
    },
    ("study", "series", "stack", "level"),
)
