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
from spinegrade.setting_sentences import (
    Problem,
    not_a_block,
    not_finite,
    problem_of,
    unknown_key,
)
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


def _not_finite(where: str, value: Any) -> list[Problem]:
    """On numbers that are none; no bound of a schema refuses .nan."""
    if isinstance(value, dict):
        return [one for key in value for one in _not_finite(f"{where}.{key}", value[key])]
    if isinstance(value, list):
        return [one for n, item in enumerate(value) for one in _not_finite(f"{where}.{n}", item)]
    if isinstance(value, float) and not math.isfinite(value):
        return [Problem(where, not_finite(where, value))]
    return []


def _problems_of(block: str, schema: dict[str, Any], value: Any) -> list[Problem]:
    if not isinstance(value, dict):
        return [Problem(block, not_a_block(block, value))]
    problems = _not_finite(block, value)
    found = Draft202012Validator(schema).iter_errors(value)
    return problems + [problem_of(block, error) for error in found]


def check_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Validate ``config`` in place, fill the schemas' defaults, and return it.

    Where a schema says ``format: path``, a leading ~ becomes the user's home.
    Text that is meant as a number, true, false or null becomes one (``setting_values``).

    Raises SpinegradeError (SETTINGS) that lists every offending key with its path, its value and
    what is allowed; its ``key`` is the first one's.
    """
    blocks = {path.stem: path for path in sorted(SCHEMA_FOLDER.glob("*.yaml"))}
    problems: list[Problem] = []
    for key in config:
        if key not in blocks:
            problems.append(Problem(str(key), unknown_key("", key, blocks)))
    for block, path in blocks.items():
        schema = yaml.safe_load(path.read_text(encoding="utf-8"))
        if block not in config:
            if "default" not in schema:
                text = f"the block {block} is missing and must be given"
                problems.append(Problem(block, text))
                continue
            config[block] = schema["default"]
        _fill_defaults(schema, config[block])
        read_text_values(schema, config[block])
        problems += _problems_of(block, schema, config[block])
    problems += _contradictions(config) if not problems else []
    if problems:
        listed = "\n".join(f"  - {problem.text}" for problem in problems)
        raise SpinegradeError(
            f"the configuration cannot be used:\n{listed}", code="SETTINGS", key=problems[0].key
        )
    return config


def _contradictions(config: dict[str, Any]) -> list[Problem]:
    cohort, root = config["cohort"], config["cohort"]["root"]
    texts: dict[str, str] = {}
    if cohort["kind"] == "phantom":
        if root:
            texts["cohort.root"] = (
                "cohort.root must be null with cohort.kind phantom; the cohort makes its own"
            )
    elif not root:
        texts["cohort.root"] = (
            f"cohort.root is null: with cohort.kind {cohort['kind']} it must name the folder "
            "that holds train.csv"
        )
    elif not Path(root).is_dir():
        texts["cohort.root"] = f"cohort.root is {root!r}: there is no such folder"
    source = config["models"]["from"]
    if source and not Path(source).is_dir():
        texts["models.from"] = (
            f"models.from is {source!r}: there is no such folder; name the results folder of a "
            "finished run, such as results/phantom_lumbar"
        )
    elif source and Path(source).resolve() == Path("results", cohort["name"]).resolve():
        texts["models.from"] = (
            f"models.from is {source!r}, the results folder of this very cohort: it would "
            "overwrite what it reads; give cohort.name another name"
        )
    return [Problem(*item) for item in texts.items()]
