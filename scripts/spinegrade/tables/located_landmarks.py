"""Annotated points after conversion; the columns of keypoints."""

from __future__ import annotations

from spinegrade.tables.files import Kind
from spinegrade.tables.point_columns import POINT

LOCATED_LANDMARKS = Kind(
    "located_landmarks",
    POINT,
)
