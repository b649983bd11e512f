"""The schemas of the configuration (JSON Schema 2020-12), whose shared parts are written once.

``$part: training`` stands for resources/schemas/config/parts/training.yaml; what stands beside it
is laid over it, and ``$defaults: {epochs: 60}`` gives properties their defaults.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SCHEMA_FOLDER = Path(__file__).resolve().parents[2] / "resources" / "schemas" / "config"


def load_schema(name: str) -> dict[str, Any]:
    """The schema of a block (``cohort``) or of a kind of learner (``learners/heatmap``)."""
    return _resolved(_read(name))


def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load((SCHEMA_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def _resolved(node: Any) -> Any:
    if isinstance(node, list):
        return [_resolved(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$part" in node:
        over = {key: value for key, value in node.items() if key != "$part"}
        node = _laid_over(_resolved(_read(f"parts/{node['$part']}")), over)
    found = {key: _resolved(value) for key, value in node.items() if key != "$defaults"}
    for key, value in node.get("$defaults", {}).items():
        found["properties"][key] = {**found["properties"][key], "default": value}
    return found


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        found[key] = _laid_over(below[key], value) if both else value
    return found


def unshared(value: Any) -> Any:
    """A copy in which no block is the same object as another, as anchors of YAML make them."""
    if isinstance(value, dict):
        return {key: unshared(entry) for key, entry in value.items()}
    return [unshared(item) for item in value] if isinstance(value, list) else value


def drop_removed(schema: Mapping[str, Any], value: Any) -> None:
    """Remove, in place, the entries of mappings of named things that are null."""
    if not isinstance(value, dict):
        return
    if "propertyNames" in schema:
        for key in [key for key, entry in value.items() if entry is None]:
            del value[key]
    for key, entry in value.items():
        drop_removed(_schema_of(schema, key), entry)


def fill_defaults(schema: Mapping[str, Any], value: Any) -> None:
    """Fill in, in place, what ``schema`` has defaults for; ~ in a path becomes the home folder."""
    if not isinstance(value, dict):
        return
    for key, part in schema.get("properties", {}).items():
        if key not in value and "default" in part:
            value[key] = copy.deepcopy(part["default"])
        if part.get("format") == "path" and isinstance(value.get(key), str):
            # No shell has read it. A Path would change what is no file, such as docker://image.
            value[key] = os.path.expanduser(value[key])  # noqa: PTH111
    for key, entry in value.items():
        fill_defaults(_schema_of(schema, key), entry)


def _schema_of(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The schema of an entry of a mapping."""
    extra = schema.get("additionalProperties")
    part = schema.get("properties", {}).get(key, extra)
    return part if isinstance(part, dict) else {}
