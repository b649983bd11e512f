"""Captions of the report's pictures, from resources/captions/report.yaml."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

RESOURCES = Path(__file__).resolve().parents[3] / "resources"
CAPTIONS = RESOURCES / "captions" / "report.yaml"


@cache
def _captions() -> dict[str, str]:
    return yaml.safe_load(CAPTIONS.read_text(encoding="utf-8"))


def caption(*names: str, **values: object) -> str:
    """The captions of ``names`` joined, with ``values`` put into their braces."""
    return " ".join(_captions()[name].format(**values).strip() for name in names)
