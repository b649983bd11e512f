"""Converted volumes: one row a volume."""

from __future__ import annotations

from spinegrade.tables.columns import AFFINE, SPLIT, STACK, real, text, whole
from spinegrade.tables.files import Kind
from spinegrade.tables.series_columns import PLANE_WEIGHTING

# Voxels from padding_low to padding_high are no part of the picture; null: there are none.
STACKS = Kind(
    "stacks",
    {
        **STACK,
        **SPLIT,
        **PLANE_WEIGHTING,
        "slices": whole(1),
        "rows": whole(1),
        "cols": whole(1),
        "row_spacing_mm": real(0.0),
        "col_spacing_mm": real(0.0),
        "slice_spacing_mm": real(0.0),
        # how far the axes are from right angles; the affine holds it, a qform cannot
        "shear_degrees": real(0.0, 90.0),
        **AFFINE,
        "intensity_low": real(),
        "intensity_high": real(),
        "padding_low": real(nullable=True, required=False),
        "padding_high": real(nullable=True, required=False),
        "volume": text(),
    },
    ("study", "series", "stack"),
)
