"""Numbers as the pages write them; None where there is none, which a table shows as a dash."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd


def number(value: float | None) -> str | None:
    """Three decimals."""
    return None if value is None or pd.isna(value) else f"{value:.3f}"


def percent(value: float | None) -> str | None:
    """A share in percent."""
    return None if value is None or pd.isna(value) else f"{value:.1%}"


def interval(found: Mapping[str, float] | None) -> str | None:
    """A value with the ends of its interval."""
    if found is None:
        return None
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def difference(found: Mapping[str, float]) -> str:
    """A difference with its sign and the ends of its interval."""
    return f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"
