"""Blocks of learners as the workflow has them: validated, with all defaults."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml
from spinegrade.learners import learners_of
from spinegrade.settings import check_settings

PROJECT = Path(__file__).resolve().parents[1]


def config_with(learners: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The default configuration with these learners beside its own, and other blocks replaced."""
    config = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())
    config["learners"] |= copy.deepcopy(learners)
    return check_settings({**config, **copy.deepcopy(more)})


def filled(block: dict[str, Any], name: str = "net") -> dict[str, Any]:
    """A learner's block with all defaults."""
    return config_with({name: block})["learners"][name]


def settings_of(block: dict[str, Any], name: str = "net") -> Any:
    """Settings of a learner, of its kind's type."""
    return learners_of({name: filled(block, name)})[name].settings


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """``above`` laid over ``below``, block by block."""
    found = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        found[key] = merged(below[key], value) if both else value
    return found


def of_volumes(
    grades: str = "foraminal", image_px: int = 320, as_published: Any = (), **augment: Any
) -> Any:
    """Settings of a grader of whole series, its augmentation as given."""
    name = f"one_stage_{grades}"
    return settings_of(
        {
            "kind": "volumes",
            "grades": grades,
            "model": {"name": name, "encoder": {"backbone": "test_resnet"}},
            "input": {"image_px": image_px},
            "training": {"loss": {"name": name}},
            "augment": augment,
            "as_published": list(as_published),
        }
    )
