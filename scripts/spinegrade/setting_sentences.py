"""What is wrong with a configuration, in sentences: the key, what stands there, what may.

Every keyword of JSON Schema that the schemas use has its words here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from jsonschema.exceptions import ValidationError

from spinegrade.near_names import near
from spinegrade.setting_moves import SettingProblem, renamed
from spinegrade.setting_values import choices_of, types_of

_TYPES = {
    "object": "a block of keys",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def problem_of(block: str, error: ValidationError) -> SettingProblem:
    """An error in a block of the configuration; where a key is unknown or missing, that key."""
    where = ".".join([block, *(str(part) for part in error.absolute_path)])
    key = where
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        key = f"{where}.{next(name for name in error.instance if name not in known)}"
    elif error.validator == "required":
        missing = (name for name in error.validator_value if name not in error.instance)
        key = f"{where}.{next(missing)}"
    return SettingProblem(key, sentence_of(block, error))


def sentence_of(block: str, error: ValidationError) -> str:
    """One sentence (or one per key) on an error in a block of the configuration."""
    where = ".".join([block, *(str(part) for part in error.absolute_path)])
    value, schema = error.instance, error.schema
    match error.validator:
        case "additionalProperties":
            known = list(schema.get("properties", {}))
            return "; ".join(unknown_key(where, key, known) for key in value if key not in known)
        case "required":
            missing = [key for key in error.validator_value if key not in value]
            keys = " and ".join(f"{where}.{key}" for key in missing)
            return f"{keys} {'is' if len(missing) == 1 else 'are'} missing and must be given"
        case "pattern" if "propertyNames" in error.absolute_schema_path:
            return f"{where} has a key {value!r}; a name there must be {_allowed(schema)}"
        case "minProperties":
            return f"{where} is empty; it must name at least {_count(error.validator_value, 'key')}"
        case "uniqueItems":
            twice = [item for number, item in enumerate(value) if item in value[:number]]
            return f"{where} names {twice[0]!r} twice; name it once"
        case "pattern":
            words = _allowed(schema) + _proposal(where, value)
            return f"{where} is {_shown(value)}; it must be {words}"
    return f"{where} {_stands(value)}; it must be {_allowed(schema)}{_remedy(schema, value)}"


def unknown_key(where: str, key: object, known: Iterable[str]) -> str:
    """A sentence on a key that is none, with the likely one and all that are allowed."""
    known = sorted(known)
    name = str(key)
    full = f"{where}.{name}" if where else repr(name)
    what = f"unknown {'key' if where else 'block'} {full}"
    before, colon, after = name.partition(":")
    if colon and before in known:
        return f"{what}; a colon needs a space after it: {before}: {after}"
    if moved := renamed(where, name):
        return f"{what}; it is now {moved}. Allowed: {', '.join(known)}"
    close = near(name, known)
    hint = f"; did you mean {close}?" if close else "."
    return f"{what}{hint} Allowed: {', '.join(known)}"


def not_a_block(block: str, value: object) -> str:
    """A sentence on a top-level block that holds a value in place of keys."""
    if value is None:
        return f"{block} is empty; give its keys, indented, or leave the line out"
    hint = ""
    if isinstance(value, str) and ":" in value:
        key, text = value.strip("{} ").split(":", 1)
        hint = (
            "; on a command line it must stand in quotes, with a space after each colon: "
            f"--config '{block}={{{key}: {text.strip()}}}'"
        )
    return f"{block} is {_shown(value)}; it must be a block of keys{hint}"


def not_finite(where: str, value: float) -> str:
    """A sentence on a number that is none, such as .nan or .inf."""
    return f"{where} is {_shown(value)}; it must be a finite number"


def _allowed(schema: dict[str, Any]) -> str:
    """What a schema takes, in words: a whole number from 2 to 20, or null."""
    if "description" in schema:
        return str(schema["description"])
    if choices := choices_of(schema):
        return " or ".join(_allowed(choice) for choice in choices)
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return _choice(_shown(choice) for choice in schema["enum"])
    return " or ".join(_TYPES[name] + _limits(schema, name) for name in types_of(schema))


def _limits(schema: dict[str, Any], kind: str) -> str:
    if kind == "array":
        least, most = schema.get("minItems"), schema.get("maxItems")
        words = ""
        if least is not None:
            how = "" if least == most else "at least "
            words = f" of {how}{_count(least, 'entry')}"
        return words + (f", each {_allowed(schema['items'])}" if "items" in schema else "")
    if kind == "string":
        return " that is not empty" if schema.get("minLength") else ""
    if kind not in ("integer", "number"):
        return ""
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if least is not None and most is not None:
        words = f" from {least} to {most}"
    else:
        lower = f"of at least {least}" if least is not None else f"above {above}"
        upper = f"at most {most}" if most is not None else f"below {below}"
        bounds = [lower] if (least, above) != (None, None) else []
        bounds += [upper] if (most, below) != (None, None) else []
        words = f" {' and '.join(bounds)}" if bounds else ""
    if "multipleOf" in schema:
        words += f" that is a multiple of {schema['multipleOf']}"
    return words


def _choice(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _count(number: int, what: str) -> str:
    plural = f"{what[:-1]}ies" if what.endswith("y") and what != "key" else f"{what}s"
    return f"{number} {what if number == 1 else plural}"


def _stands(value: object) -> str:
    if value in ([], {}):
        return "is empty"
    return f"is {_shown(value)}"


def _shown(value: object) -> str:
    """A value as it is written in YAML, cut where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = repr(value) if isinstance(value, (str, int, float, list, dict)) else f"{value}"
    return text if len(text) <= 100 else f"{text[:97]}..."


def _remedy(schema: dict[str, Any], value: object) -> str:
    """What to do about a value of the wrong type, where it is likely known."""
    types = types_of(schema)
    if isinstance(value, str) and (close := near(value, schema.get("enum", ()))):
        return f"; did you mean {close}?"
    if "string" in types and not isinstance(value, (str, list, dict)) and value is not None:
        return f"; write it in quotes: '{_shown(value)}'"
    if "array" in types and isinstance(value, (str, int, float)):
        return f"; write it in brackets: [{value}]"
    if isinstance(value, str) and {"integer", "number"} & {*types} and "," in value:
        return "; a decimal point, no comma"
    return ""


def _proposal(where: str, value: str) -> str:
    """A name like the given one that would do, for a cohort."""
    if where != "cohort.name":
        return ""
    near = re.sub(r"[^A-Za-z0-9_-]+", "_", value).strip("_-")[:64]
    return f", such as {near}" if near else ""
