"""The series of a cohort: one row a series; ``folder`` is relative to the cohort's root."""

from __future__ import annotations

from spinegrade.tables.columns import SPLIT, STUDY, text, whole
from spinegrade.tables.files import Kind
from spinegrade.tables.series_columns import PLANE_WEIGHTING

SERIES = Kind(
    "series",
    {
        **STUDY,
        "series": text(),
        **SPLIT,
        **PLANE_WEIGHTING,
        "folder": text(),
        "file_count": whole(0),
        "shard": whole(0),
        "problem": text(nullable=True),
    },
    ("study", "series"),
)
