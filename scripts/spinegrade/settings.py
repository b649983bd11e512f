"""The configuration, validated whole before anything runs.

One schema per top-level block, and one per kind of learner (``schemas``). A room's rules get only
the smallest piece that they need, through ``params``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from spinegrade.errors import SpinegradeError
from spinegrade.near_names import unknown_name
from spinegrade.schemas import (
    SCHEMA_FOLDER,
    drop_removed,
    fill_defaults,
    load_schema,
    unshared,
)
from spinegrade.setting_moves import SettingProblem, moved_keys
from spinegrade.setting_sentences import (
    not_a_block,
    not_finite,
    problem_of,
    unknown_key,
)
from spinegrade.setting_values import read_text_values
from spinegrade.training.kinds import room_of_kind


def _not_finite(where: str, value: Any) -> list[SettingProblem]:
    """On numbers that are none; no bound of a schema refuses .nan."""
    if isinstance(value, dict):
        return [one for key in value for one in _not_finite(f"{where}.{key}", value[key])]
    if isinstance(value, list):
        return [one for n, item in enumerate(value) for one in _not_finite(f"{where}.{n}", item)]
    if isinstance(value, float) and not math.isfinite(value):
        return [SettingProblem(where, not_finite(where, value))]
    return []


def _checked(where: str, schema: dict[str, Any], value: Any) -> list[SettingProblem]:
    """Fill ``value`` in place and say what is wrong with it."""
    if schema["type"] == "object" and not isinstance(value, dict):
        return [SettingProblem(where, not_a_block(where, value))]
    drop_removed(schema, value)
    fill_defaults(schema, value)
    read_text_values(schema, value)
    found = Draft202012Validator(schema).iter_errors(value)
    return [problem_of(where, error) for error in found]


def _learner_problems(learners: Any) -> list[SettingProblem]:
    """What is wrong with each learner by the schema of its kind."""
    if not isinstance(learners, dict):
        return []
    schemas, problems = {}, []
    for name, block in learners.items():
        where, kind = f"learners.{name}", block.get("kind") if isinstance(block, dict) else None
        if not isinstance(block, dict):
            continue
        if kind not in room_of_kind():
            text = unknown_name(f"{where}.kind", kind, room_of_kind(), "a folder with a kind.py")
            problems.append(SettingProblem(f"{where}.kind", text))
            continue
        if kind not in schemas:
            schemas[kind] = load_schema(f"learners/{kind}")
        problems += _checked(where, schemas[kind], block)
    return problems


def check_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Validate ``config`` in place, fill the schemas' defaults, and return it.

    Where a schema says ``format: path``, a leading ~ becomes the user's home. Text that is meant
    as a number, true, false or null becomes one (``setting_values``). A named thing that is null is
    removed.

    Raises SpinegradeError (SETTINGS) that lists every offending key with its path, its value and
    what is allowed; its ``key`` is the first one's. Keys of earlier versions are answered with
    the key that took their place.
    """
    blocks = [path.stem for path in sorted(SCHEMA_FOLDER.glob("*.yaml"))]
    problems = moved_keys(config)
    for key in config:
        if key not in blocks and not any(one.key.split(".")[0] == key for one in problems):
            problems.append(SettingProblem(str(key), unknown_key("", key, blocks)))
    for block in blocks:
        schema = load_schema(block)
        if block not in config:
            if "default" not in schema:
                text = f"the block {block} is missing and must be given"
                problems.append(SettingProblem(block, text))
                continue
            config[block] = schema["default"]
        config[block] = unshared(config[block])
        problems += _checked(block, schema, config[block])
        problems += _not_finite(block, config[block])
    problems += _learner_problems(config.get("learners"))
    problems += _contradictions(config) if not problems else []
    if problems:
        listed = "\n".join(f"  - {problem.text}" for problem in problems)
        raise SpinegradeError(
            f"the configuration cannot be used:\n{listed}", code="SETTINGS", key=problems[0].key
        )
    return config


def _contradictions(config: dict[str, Any]) -> list[SettingProblem]:
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
    return [SettingProblem(*item) for item in texts.items()]
