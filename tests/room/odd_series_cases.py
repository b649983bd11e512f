"""All odd series, by what is odd about them."""

from __future__ import annotations

import odd_series_groups
import odd_series_places
import odd_series_stored

GROUPS = {
    "Where slices lie": odd_series_places.CASES,
    "What belongs together": odd_series_groups.CASES,
    "How slices are stored": odd_series_stored.CASES,
}
ALL = tuple(series for group in GROUPS.values() for series in group)
