"""Keys of earlier configurations are answered with the new ones, and null removes a named thing."""

from __future__ import annotations

from typing import Any

import pytest
from learner_blocks import config_with
from refusals import refused
from spinegrade.errors import SpinegradeError
from spinegrade.setting_moves import MOVED, moved_keys

ENCODER = {"backbone": "test_resnet"}
SMALL = {"kind": "cells", "reads": {"canal": ["canal_axial"]}, "model": {"encoder": ENCODER}}

# Where a key stood, what it held, and where it stands now.
MOVES: list[tuple[str, Any, str]] = [
    ("keypoints.detectors.x", {}, "learners.x (kind: heatmap)"),
    ("keypoints.detectors.x.target", "canal", "learners.x.finds"),
    ("keypoints.detectors.x.grid", {}, "learners.x.input"),
    ("keypoints.detectors.x.architecture", {}, "learners.x.model"),
    ("keypoints.detectors.x.training.clip_norm", 2, "learners.x.training.gradient_norm"),
    ("keypoints.detectors.x.training.sigma_mm", 3, "learners.x.training.loss.sigma_mm"),
    ("keypoints.detectors.x.augmentation.curve", 0.4, "learners.x.augment.gamma"),
    ("keypoints.regressors.x", {}, "learners.x (kind: coordinates, or axial_levels)"),
    ("keypoints.regressors.x.kind", "axial_3d", "learners.x.kind, finds and sees"),
    ("keypoints.regressors.x.frame_px", 512, "learners.x.input.frame_px"),
    ("keypoints.regressors.x.target_scale.slices", 16, "learners.x.input.along"),
    ("keypoints.regressors.x.loss_weight", 8, "learners.x.training.loss.weight"),
    ("keypoints.regressors.x.entries", "published", "learners.x.as_published: [entries]"),
    ("keypoints.regressors.x.flips", "published", "learners.x.as_published: [flip]"),
    ("keypoints.regressors.x.training.further_epochs", 3, "learners.x.training.schedule_epochs"),
    ("keypoints.projections.x", {}, "projections.x"),
    ("rois.sets.x", {}, "crop.sets.x"),
    ("rois.sets.x.slices.sampled.entries", 1, "crop.sets.x.slices.sampled.as_published: [entries]"),
    ("rois.sequences.x", {}, "crop.sequences.x"),
    ("classifiers.x", {}, "learners.x (kind: cells)"),
    ("classifiers.x.views", {}, "learners.x.reads"),
    ("classifiers.x.backbone", "resnet18", "learners.x.model.encoder.backbone"),
    ("classifiers.x.ema_decay", 0.9, "learners.x.training.average_decay"),
    ("classifiers.x.warmup", 0.1, "learners.x.training.warm_up"),
    ("classifiers.x.epochs", 3, "learners.x.training.epochs"),
    ("classifiers.x.test_draws", 2, "learners.x.looks: [plain, mirrored, jittered]"),
    ("classifiers.x.augmentation.rotate_degrees", 6, "learners.x.augment.rotation_degrees"),
    ("one_stage.networks.x", {}, "learners.x (kind: volumes)"),
    ("one_stage.networks.x.flip", "bugged", "learners.x.as_published: [flip]"),
    ("one_stage.networks.x.augmentation.motion", 1, "learners.x.as_published: [motion]"),
    ("one_stage.networks.x.training.finish", {}, "learners.x.training.stages"),
    ("one_stage.networks.x.canvas_px", 512, "learners.x.input.canvas_px"),
    ("one_stage.networks.x.ensemble", False, "systems.one_stage.members"),
    ("two_stage.graders.x", {}, "learners.x (kind: views, or levels)"),
    ("two_stage.graders.x.crops", {}, "learners.x.reads"),
    ("two_stage.graders.x.condition", "canal", "learners.x.grades"),
    ("two_stage.graders.x.training.accumulate", 2, "learners.x.training.accumulation"),
    ("two_stage.graders.x.columns", "published", "learners.x.as_published: [columns]"),
    ("two_stage.graders.x.tta", "flips", "learners.x.looks: [plain, flipped] or [plain, mirrored]"),
    ("ensemble", {"blend": "logits"}, "combine"),
]


@pytest.mark.parametrize(("old", "value", "new"), MOVES, ids=[old for old, *_ in MOVES])
def test_a_moved_key_is_answered_with_the_new_one(old: str, value: Any, new: str) -> None:
    config: Any = value
    for key in reversed(old.split(".")):
        config = {key: config}
    assert (old, f"{old} is now {new}") in moved_keys(config)
    with refused("SETTINGS", f"{old} is now {new}", key=moved_keys(config)[0].key):
        config_with({}, **config)


def test_each_old_block_has_a_row() -> None:
    assert {old.rpartition(".")[0] for old, *_ in MOVES} >= MOVED.keys()


@pytest.mark.parametrize(
    ("where", "change", "hint"),
    [
        ("training.ema_decay", {"training": {"ema_decay": 0.9}}, "it is now average_decay"),
        (
            "augment.rotate_degrees",
            {"augment": {"rotate_degrees": 1}},
            "it is now rotation_degrees",
        ),
        ("views", {"views": {}}, "it is now reads"),
        ("epochs", {"epochs": 3}, "it is now training.epochs"),
        ("reads.spinal_canal_stenosis", {"reads": {"spinal_canal_stenosis": []}}, "mean canal?"),
        ("reads.foramen", {"reads": {"foramen": []}}, "mean foraminal?"),
        ("training.epoch", {"training": {"epoch": 3}}, "mean epochs?"),
    ],
)
def test_an_old_or_near_key_in_a_learner_is_answered(where: str, change: Any, hint: str) -> None:
    with refused("SETTINGS", hint, key=f"learners.net.{where}"):
        config_with({"net": SMALL | change})


def test_unknown_kinds_and_conditions_are_answered_with_the_likely_one() -> None:
    with refused("SETTINGS", "heatmap?", "volumes", key="learners.net.kind"):
        config_with({"net": {"kind": "heatmaps"}})
    with refused("SETTINGS", "missing", "heatmap", key="learners.net.kind"):
        config_with({"net": {"finds": "canal"}})
    grid = {"slices": 16, "rows": 32, "cols": 32, "pixel_mm": 2}
    with refused("SETTINGS", "mean subarticular?", key="learners.net.finds"):
        found = {"kind": "heatmap", "finds": "subarticular_stenosis", "input": grid}
        config_with({"net": found})
    plane = {"unit": "mm", "size": 40, "output_px": 64}
    crop = {"sets": {"x": {"detector": "sagittal_t1", "conditions": ["foramina"]}}}
    crop["sets"]["x"]["in_plane"] = plane
    with refused("SETTINGS", "mean foraminal?", key="crop.sets.x.conditions.0"):
        config_with({}, crop=crop)


def test_null_removes_a_named_thing() -> None:
    found = config_with(
        {"small": None},
        crop={"sets": {"canal_axial": None}, "sequences": {"a": None}},
        systems={"demo": None, "other": {"members": {"a": True, "b": None}}},
        projections={"p": None},
        combine={"outside": {"table": None}},
    )
    assert "small" not in found["learners"] and "axial_t2" in found["learners"]
    assert found["crop"] == {"sets": {}, "sequences": {}}
    assert found["systems"].keys() == {"other"}
    assert found["systems"]["other"]["members"] == {"a": True}
    assert found["projections"] == found["combine"]["outside"] == {}


def test_null_is_no_value_of_anything_else() -> None:
    with pytest.raises(SpinegradeError, match=r"learners\.net\.reads is null"):
        config_with({"net": SMALL | {"reads": None}})
