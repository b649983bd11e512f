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


def module_of(name: str) -> str:
    """The module that declares the kind of table ``name``; raises KeyError for another name."""
    if name not in kind_names():
        raise KeyError(f"no kind of table {name!r}; known: {', '.join(kind_names())}")
    return f"spinegrade.tables.{name}"


def kind_named(name: str) -> Kind:
    """The kind of table ``name``; raises KeyError where there is none."""
    kind = getattr(importlib.import_module(module_of(name)), name.upper())
    assert isinstance(kind, Kind)
    return kind
