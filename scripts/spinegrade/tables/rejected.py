"""What a stage refused or could not do: one row each."""

from __future__ import annotations

from spinegrade.tables.columns import STUDY, text
from spinegrade.tables.files import Kind

# code: one of convert's documented refusals; action says what to do.
REJECTED = Kind(
    "rejected",
    {
        **STUDY,
        "series": text(nullable=True),
        "file": text(nullable=True),
        "code": text(),
        "found": text(),
        "action": text(),
    },
)
