"""What the ensemble makes of all members: one row a cell."""

from __future__ import annotations

from spinegrade.tables.columns import real, text
from spinegrade.tables.files import Kind
from spinegrade.tables.prediction_columns import PREDICTION

SOURCES = ("image", "outside", "prior")
"""Where a combined probability comes from: members that this run made from the study's images, a
table that others made and no member of this run, or the prior alone."""

# source: whose numbers these are; members: those that have a weight and graded the cell, joined by
# commas, none where source is "prior"; prior_weight: the prior's share of the weights, what it
# holds for members that lack the cell included.
PROBABILITIES = Kind(
    "probabilities",
    {
        **PREDICTION,
        "source": text(SOURCES),
        "members": text(),
        "prior_weight": real(0.0, 1.0),
    },
    ("study", "condition", "level", "side"),
)
