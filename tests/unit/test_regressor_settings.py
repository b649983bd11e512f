"""The regressors' block of the configuration: published defaults, the recipe, units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from spinegrade.localise.coordinates.checks import check_regressors
from spinegrade.localise.coordinates.settings import (
    Settings,
    settings_from_config,
    settings_from_plain,
)
from spinegrade.settings import check_settings

PROJECT = Path(__file__).resolve().parents[2]
RECIPE = PROJECT / "resources" / "systems" / "two_stage_keypoints.yaml"
PARTS = {"backbone": "resnet18"}


def filled(blocks: dict[str, Any]) -> dict[str, Any]:
    config = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())
    config["keypoints"]["regressors"] = blocks
    return check_settings(config)["keypoints"]["regressors"]


def settings_of(**block: Any) -> Settings:
    return settings_from_config("net", filled({"net": {**PARTS, **block}})["net"])


@pytest.mark.parametrize(
    ("block", "px", "depth", "rate", "batch", "epochs", "degrees", "scale", "weight"),
    [
        ({"kind": "sagittal_2d", "target": "canal"}, 512, 1, 6e-4, 32, 25, 15, (1, 1), 512),
        ({"kind": "sagittal_3d", "inputs": ["t1"]}, 256, 48, 6e-4, 16, 35, 15, (4, 16), 1),
        ({"kind": "axial_3d"}, 256, 96, 6e-4, 16, 30, 10, (4, 16), 1),
        ({"kind": "axial_2d"}, 512, 1, 6e-4, 32, 25, 15, (512, 1), 1 / 128),
        ({"kind": "axial_levels"}, 224, 1, 1e-4, 8, 35, 15, (1, 1), 1),
    ],
)
def test_defaults_are_the_published_ones(
    block: dict, px: int, depth: int, rate: float, batch: int, epochs: int, degrees: float,
    scale: tuple, weight: float,
) -> None:  # fmt: skip
    settings = settings_of(**block)
    training = settings.training
    assert (settings.frame_px, settings.image_px, settings.depth) == (512, px, depth)
    assert (training.learning_rate, training.batch_size, training.epochs) == (rate, batch, epochs)
    assert training.accumulation == (8 if block["kind"] == "axial_levels" else 2)
    assert (training.weight_decay, training.average_decay) == (1e-5, 0.99)
    assert (training.warm_up, training.further_epochs, training.cycles) == (0.1, 3, 0.475)
    assert settings.augmentation.rotation_degrees == degrees
    assert (settings.target_scale, settings.loss_weight) == (scale, weight)
    assert (settings.attention, settings.flips, settings.select) == ("fixed", "fixed", "last")
    assert settings_from_plain(settings.as_dict()).as_dict() == settings.as_dict()


def test_the_recipe_is_what_was_submitted() -> None:
    blocks = filled(yaml.safe_load(RECIPE.read_text())["keypoints"]["regressors"])
    check_regressors(blocks)
    settings = {name: settings_from_config(name, block) for name, block in blocks.items()}
    later = settings["sagittal_t2_3d"]
    assert (later.inputs, later.image_px, later.depth) == (("t2",), 384, 32)
    assert (later.target_scale, later.loss_weight) == ((1, 1), 8)
    joint = settings["sagittal_joint"]
    assert len(joint.cells) == 15 and joint.channel_of_point == (1,) * 5 + (0,) * 10
    other = settings["sagittal_t2_2d_convformer"].training
    assert (other.learning_rate, other.epochs, other.batch_size) == (8e-4, 30, 32)
