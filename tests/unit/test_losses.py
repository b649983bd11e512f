"""Losses are found by name, the schemas know them all, and they are what they were."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
import torch
import yaml
from refusals import refused
from spinegrade.losses.registry import build, loss_names, module_of
from spinegrade.schemas import load_schema
from spinegrade.training.kinds import room_of_kind

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE, CONFIG = PROJECT / "scripts" / "spinegrade", "workflow_config.yaml"


def test_every_loss_is_the_default_of_a_kind_or_named_by_a_recipe() -> None:
    named = set()
    for kind in room_of_kind():
        training = load_schema(f"learners/{kind}")["properties"]["training"]["properties"]
        named.add(training["loss"]["properties"]["name"].get("default"))
    for recipe in [*(PROJECT / "resources" / "systems").glob("*.yaml"), PROJECT / CONFIG]:
        for block in (yaml.safe_load(recipe.read_text()).get("learners") or {}).values():
            named.add((block or {}).get("training", {}).get("loss", {}).get("name"))
    assert named - {None} == set(loss_names())


def test_an_unknown_loss_is_refused_with_the_known_ones() -> None:
    with refused("NAME_UNKNOWN", "focal", "point_cross_entropy"):
        module_of("focal")
    with refused("OPTIONS_WRONG", "weighted_cross_entropy", "gamma"):
        build("weighted_cross_entropy", gamma=2)


def test_nothing_imports_a_loss_but_the_registry() -> None:
    """Else editing it would change the fingerprint of code that never uses it."""
    losses = {module_of(name) for name in loss_names()}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                named = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            assert not losses.intersection(named), file


def test_weighted_cross_entropy_by_hand() -> None:
    loss = build("weighted_cross_entropy")
    logits = torch.tensor([[0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0]])
    found = loss(logits, torch.tensor([2, 0]), torch.tensor([1.0, 4.0]))
    assert float(found) == pytest.approx((math.log(3) + 4 * math.log(2)) / 2)


def test_point_cross_entropy_by_hand() -> None:
    """Narrow normals are one pixel: the loss is minus the logarithm of that pixel's share."""
    loss = build("point_cross_entropy", sigma_px=0.05, sigma_slices=0.05)
    in_plane, slices = torch.zeros(1, 2, 4, 5), torch.zeros(1, 2, 3)
    in_plane[0, 0, 1, 2] = math.log(2)  # of 19 others
    points = torch.tensor([[[4.5, 2.5, 1.0], [0.0, 0.0, 0.0]]])  # stride 2: pixel (2, 1)
    known = torch.tensor([[True, False]])
    found = loss(in_plane, slices, points, known, stride=2)
    assert float(found[0]) == pytest.approx(math.log(21 / 2), rel=1e-5)
    assert float(found[1]) == pytest.approx(math.log(3), rel=1e-5)
    assert float(loss(in_plane, None, points, known, stride=2)[1]) == 0
    assert float(sum(loss(in_plane, slices, points, known & False, stride=2))) == 0
