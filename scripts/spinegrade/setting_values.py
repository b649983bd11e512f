"""Values of the configuration that arrive as text and are meant as numbers, yes or no, or nothing.

``--config 'cohort={folds: 2}'`` gives every value as text, and YAML 1.1 reads ``2e-3`` as text
since it has no point. What is meant follows from the schema.
"""

from __future__ import annotations

import re
from typing import Any

_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def read_text_values(schema: dict[str, Any], value: Any) -> Any:
    """``value`` as ``schema`` (JSON Schema) means it; blocks and lists are changed in place.

    Text becomes a number, a boolean or null only where the schema asks for one; where it takes
    text it stays text, but for the word null where that is allowed too. Where a whole number is
    asked for, 2.0 and 2e3 become one. Text that says none of these stays as it is, for the
    validation to refuse.
    """
    if isinstance(value, dict):
        properties, extra = schema.get("properties", {}), schema.get("additionalProperties")
        for key in value:
            part = properties.get(key, extra)
            if isinstance(part, dict):
                value[key] = read_text_values(part, value[key])
        return value
    if isinstance(value, list):
        for choice in (schema, *choices_of(schema)):
            if "items" in choice:
                value[:] = [read_text_values(choice["items"], item) for item in value]
        return value
    for choice in choices_of(schema) or (schema,):
        value = _as_meant(choice, value)
    return value


def types_of(schema: dict[str, Any]) -> list[str]:
    """The types that a schema names, as a list; empty where it names none."""
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def choices_of(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of which a value has to meet one; empty where there is but the one."""
    return list(schema.get("oneOf") or schema.get("anyOf") or ())


def _as_meant(schema: dict[str, Any], value: Any) -> Any:
    types, choices = types_of(schema), schema.get("enum", [])
    if isinstance(value, str) and value not in choices and "string" not in types:
        if {"integer", "number"} & {*types} or any(type(c) in (int, float) for c in choices):
            value = _number(value)
        if isinstance(value, str) and "boolean" in types:
            value = _BOOLEANS.get(value.lower(), value)
    if value == "null" and ("null" in types or None in choices):
        value = None
    # A float that is whole counts as an integer in JSON Schema, but not where Python counts.
    if isinstance(value, float) and value.is_integer() and types and "number" not in types:
        value = int(value) if "integer" in types else value
    return value


def _number(text: str) -> int | float | str:
    if _WHOLE.fullmatch(text.strip()):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text.strip()) else text
