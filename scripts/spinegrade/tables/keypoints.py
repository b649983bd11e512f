"""Predicted points; the columns of located landmarks."""

from __future__ import annotations

from spinegrade.tables.files import Kind
from spinegrade.tables.point_columns import POINT

KEYPOINTS = Kind(
    "keypoints",
    POINT,
)
