"""Every kind of table by its name, for tests and tools.

A stage imports the kinds that it reads and writes, never this module.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from spinegrade.tables.files import Kind

_OTHERS = {"__init__", "files", "named"}


def kind_names() -> list[str]:
    """The names of all kinds, sorted."""
    files = {path.stem for path in Path(__file__).parent.glob("*.py")} - _OTHERS
    return sorted(name for name in files if not name.endswith("columns"))


def kind_named(name: str) -> Kind:
    """The kind of table ``name``; raises ModuleNotFoundError where there is none."""
    kind = getattr(importlib.import_module(f"spinegrade.tables.{name}"), name.upper())
    assert isinstance(kind, Kind)
    return kind
