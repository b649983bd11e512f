"""The fold of each train study."""

from __future__ import annotations

from spinegrade.tables.columns import STUDY, whole
from spinegrade.tables.files import Kind

FOLDS = Kind(
    "folds",
    {**STUDY, "fold": whole(0), "stratum": whole(0)},
    ("study",),
)
