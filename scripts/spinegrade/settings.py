"""The configuration, validated whole before anything runs.

One schema file a top-level block (resources/schemas/config/<block>.yaml, JSON Schema 2020-12).
A room's rules get only the smallest piece that they need, through ``params``.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from spinegrade.errors import SpinegradeError

SCHEMA_FOLDER = Path(__file__).resolve().parents[2] / "resources" / "schemas" / "config"


def _fill_defaults(schema: dict[str, Any], value: Any) -> None:
    if not isinstance(value, dict):
        return
    for key, part in schema.get("properties", {}).items():
        if key not in value and "default" in part:
            value[key] = part["default"]
        if part.get("format") == "path" and isinstance(value.get(key), str):
            # No shell has read it. A Path would change what is no file, such as docker://image.
            value[key] = os.path.expanduser(value[key])  # noqa: PTH111
        if key in value:
            _fill_defaults(part, value[key])
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        for key in value.keys() - schema.get("properties", {}).keys():
            _fill_defaults(extra, value[key])


def _describe(block: str, error: ValidationError) -> str:
    where = ".".join([block, *(str(part) for part in error.absolute_path)])
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in known]
        lines = []
        for key in unknown:
            close = difflib.get_close_matches(str(key), known, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            lines.append(f"unknown key {where}.{key}{hint} Allowed: {', '.join(sorted(known))}")
        return "; ".join(lines)
    if error.validator == "enum":
        return (
            f"{where} is {error.instance!r}; allowed: {', '.join(map(repr, error.validator_value))}"
        )
    return f"{where} is {error.instance!r}: {error.message}"


def check_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Validate ``config`` in place, fill the schemas' defaults, and return it.

    Where a schema says ``format: path``, a leading ~ becomes the user's home.

    Raises SpinegradeError that lists every offending key with its path, its value and what
    is allowed.
    """
    blocks = {path.stem: path for path in sorted(SCHEMA_FOLDER.glob("*.yaml"))}
    problems = []
    for key in config:
        if key not in blocks:
            close = difflib.get_close_matches(str(key), list(blocks), 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            problems.append(f"unknown block {key!r}{hint} Allowed: {', '.join(blocks)}")
    for block, path in blocks.items():
        schema = yaml.safe_load(path.read_text(encoding="utf-8"))
        if block not in config:
            if "default" not in schema:
                problems.append(f"block {block!r} is missing")
                continue
            config[block] = schema["default"]
        _fill_defaults(schema, config[block])
        validator = Draft202012Validator(schema)
        for error in validator.iter_errors(config[block]):
            cause = best_match(error.context) if error.context else error
            problems.append(_describe(block, cause or error))
    problems += _contradictions(config) if not problems else []
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise SpinegradeError(f"the configuration cannot be used:\n{listed}")
    return config


def _contradictions(config: dict[str, Any]) -> list[str]:
    cohort = config["cohort"]
    found = []
    if cohort["kind"] != "phantom":
        if not cohort["root"]:
            found.append(
                f"cohort.root is null: with cohort.kind {cohort['kind']} it must name the folder "
                "that holds train.csv"
            )
        elif not Path(cohort["root"]).is_dir():
            found.append(f"cohort.root is {cohort['root']!r}: there is no such folder")
    elif cohort["root"]:
        found.append("cohort.root must be null with cohort.kind phantom; the cohort makes its own")
    source = config["models"]["from"]
    if source and not Path(source).is_dir():
        found.append(
            f"models.from is {source!r}: there is no such folder; name the results folder of a "
            "finished run, such as results/phantom_lumbar"
        )
    elif source and Path(source).resolve() == Path("results", cohort["name"]).resolve():
        found.append(
            f"models.from is {source!r}, the results folder of this very cohort: it would "
            "overwrite what it reads; give cohort.name another name"
        )
    return found
