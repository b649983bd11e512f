"""The studies of a cohort: one row a study; ``problem`` names why it is left out (null: used)."""

from __future__ import annotations

from spinegrade.tables.columns import SPLIT, STUDY, text, whole
from spinegrade.tables.files import Kind

STUDIES = Kind(
    "studies",
    {
        **STUDY,
        **SPLIT,
        "region": text(("lumbar", "cervical")),
        "shard": whole(0),
        "series_count": whole(0),
        "problem": text(nullable=True),
    },
    ("study",),
)
