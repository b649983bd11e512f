"""What conversion will make of a series as delivered, told from headers: one row a series."""

from __future__ import annotations

from spinegrade.tables.columns import SPLIT, STUDY, real, text, whole
from spinegrade.tables.files import Kind
from spinegrade.tables.series_columns import PLANE_WEIGHTING

# codes: joined by commas. The geometry is that of the volume with most slices, null where there is
# none.
VERDICTS = Kind(
    "verdicts",
    {
        **STUDY,
        "series": text(),
        **SPLIT,
        **PLANE_WEIGHTING,
        "verdict": text(("good", "partial", "refused")),
        "codes": text(),
        "files": whole(0),
        "slices": whole(0),
        "volumes": whole(0),
        "rows": whole(1, nullable=True),
        "cols": whole(1, nullable=True),
        "row_spacing_mm": real(0.0, nullable=True),
        "col_spacing_mm": real(0.0, nullable=True),
        "slice_spacing_mm": real(0.0, nullable=True),
        "tilt_degrees": real(0.0, 90.0, nullable=True),
    },
    ("study", "series"),
)
