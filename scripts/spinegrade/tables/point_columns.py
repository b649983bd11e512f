"""A point in a stack, annotated or predicted: in mm, in px and in its slice."""

from __future__ import annotations

from spinegrade.tables.cell_columns import CELL
from spinegrade.tables.columns import POINT_MM, STACK, real, text, whole

POINT = {
    **STACK,
    "index": whole(0),
    **CELL,
    "x_px": real(),
    "y_px": real(),
    **POINT_MM,
    "confidence": real(0.0, 1.0),
    "source": text(),
}
