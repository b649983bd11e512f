"""What a series shows: columns of every table that has a row a series or a volume."""

from __future__ import annotations

from spinegrade.tables.columns import text

PLANES = ("sagittal", "axial")
WEIGHTINGS = ("t1", "t2", "stir", "ct")
PLANE_WEIGHTING = {"plane": text(PLANES), "weighting": text(WEIGHTINGS)}
