"""The configuration of a run, as rows of a table."""

from __future__ import annotations

from typing import Any


def flat_settings(config: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(dotted key, value as text) of every leaf of a nested configuration, in its order."""
    rows: list[tuple[str, str]] = []
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            rows += flat_settings(value, f"{name}.")
        else:
            rows.append((name, "null" if value is None else str(value)))
    return rows
