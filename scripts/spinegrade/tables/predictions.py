"""Predictions of one grader: out of fold (fold set) or of new studies (fold null)."""

from __future__ import annotations

from spinegrade.tables.files import Kind
from spinegrade.tables.prediction_columns import PREDICTION

PREDICTIONS = Kind(
    "predictions",
    PREDICTION,
    ("classifier", "study", "condition", "level", "side"),
)
