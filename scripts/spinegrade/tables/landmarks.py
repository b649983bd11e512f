"""Annotated points as delivered: instance number and pixels only."""

from __future__ import annotations

from spinegrade.tables.cell_columns import CELL
from spinegrade.tables.columns import STUDY, real, text, whole
from spinegrade.tables.files import Kind

LANDMARKS = Kind(
    "landmarks",
    {
        **STUDY,
        "series": text(),
        "instance_number": whole(0),
        **CELL,
        "x_px": real(),
        "y_px": real(),
    },
)
