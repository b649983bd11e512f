"""The slices of converted volumes: one row a slice."""

from __future__ import annotations

from spinegrade.tables.columns import STACK, real, text, whole
from spinegrade.tables.files import Kind

SLICES = Kind(
    "slices",
    {
        **STACK,
        "index": whole(0),
        "instance_number": whole(0),
        "file": text(),
        "position_mm": real(),
        "orientation": text(),
    },
    ("study", "series", "stack", "index"),
)
