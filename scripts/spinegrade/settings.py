"""The configuration, validated whole before anything runs.

One schema file a top-level block (resources/schemas/config/<block>.yaml, JSON Schema 2020-12).
A room's rules get only the smallest piece that they need, through ``params``.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from spinegrade.errors import SpinegradeError
from spinegrade.setting_sentences import not_a_block, not_finite, sentence_of, unknown_key
from spinegrade.setting_values import read_text_values

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


def _not_finite(where: str, value: Any) -> list[str]:
    """Sentences on numbers that are none; no bound of a schema refuses .nan."""
    if isinstance(value, dict):
        return [one for key in value for one in _not_finite(f"{where}.{key}", value[key])]
    if isinstance(value, list):
        return [one for n, item in enumerate(value) for one in _not_finite(f"{where}.{n}", item)]
    if isinstance(value, float) and not math.isfinite(value):
        return [not_finite(where, value)]
    return []


def _problems_of(block: str, schema: dict[str, Any], value: Any) -> list[str]:
    if not isinstance(value, dict):
        return [not_a_block(block, value)]
    problems = _not_finite(block, value)
    found = Draft202012Validator(schema).iter_errors(value)
    return problems + [sentence_of(block, error) for error in found]


def check_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Validate ``config`` in place, fill the schemas' defaults, and return it.

    Where a schema says ``format: path``, a leading ~ becomes the user's home.
    Text that is meant as a number, true, false or null becomes one (``setting_values``).

    Raises SpinegradeError that lists every offending key with its path, its value and what
    is allowed.
    """
    blocks = {path.stem: path for path in sorted(SCHEMA_FOLDER.glob("*.yaml"))}
    problems = []
    for key in config:
        if key not in blocks:
            problems.append(unknown_key("", key, blocks))
    for block, path in blocks.items():
        schema = yaml.safe_load(path.read_text(encoding="utf-8"))
        if block not in config:
            if "default" not in schema:
                problems.append(f"the block {block} is missing and must be given")
                continue
            config[block] = schema["default"]
        _fill_defaults(schema, config[block])
        read_text_values(schema, config[block])
        problems += _problems_of(block, schema, config[block])
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
