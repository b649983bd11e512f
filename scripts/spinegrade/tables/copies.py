"""Slices that were left out as exact copies of kept ones: one row each."""

from __future__ import annotations

from spinegrade.tables.columns import STACK, text, whole
from spinegrade.tables.files import Kind

# The place is that of the kept slice: a point on the copy belongs there.
COPIES = Kind(
    "copies",
    {
        **STACK,
        "index": whole(0),
        "instance_number": whole(0),
        "file": text(),
    },
)
