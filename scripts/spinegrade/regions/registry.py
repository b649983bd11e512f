"""Regions by name, imported only when they are asked for."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from spinegrade.regions.region import Region

_FOLDER = Path(__file__).resolve().parent


def region_names() -> list[str]:
    """The modules of this folder that have a region of their own name, sorted."""
    return sorted(
        path.stem
        for path in _FOLDER.glob("*.py")
        if re.search(rf"^{path.stem.upper()} = Region\(", path.read_text("utf-8"), re.MULTILINE)
    )


def module_of(name: str) -> str:
    """The module of the region ``name``; raises KeyError for another name."""
    if name not in region_names():
        raise KeyError(f"no region {name!r}; known: {', '.join(region_names())}")
    return f"spinegrade.regions.{name}"


def region_named(name: str) -> Region:
    """The region ``name``: the constant of its module with its name in capitals."""
    return getattr(importlib.import_module(module_of(name)), name.upper())


def modules_of(name: str) -> tuple[str, str]:
    """The modules of the region ``name`` and of its metric, for code fingerprints."""
    return module_of(name), f"spinegrade.metrics.{region_named(name).metric}"
