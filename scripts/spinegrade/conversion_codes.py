"""Codes of conversion that cost nothing, or that cut: for the survey and what shows it."""

from __future__ import annotations

NOTE_CODES = frozenset({"UNEVEN_A_LITTLE", "TURNED_A_LITTLE", "SHEARED", "SEVERAL_SOURCES"})
"""Codes of rows that tell of something and cost no slice: a series may be good for all that."""
CUT_CODES = frozenset({"GAP", "UNEVEN_STEPS"})
"""Codes of places where slices are cut into volumes; lost ones have a row of their own."""
