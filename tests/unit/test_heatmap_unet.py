"""Architectures are built by name; what does not fit is refused by name."""

from __future__ import annotations

import torch
from refusals import refused
from spinegrade.models.registry import build, model_names, module_of


def test_shapes_with_and_without_a_slice_head() -> None:
    network = build("heatmap_unet", in_channels=4, points=3, slices=4, width=4, depth=2, context=1)
    found = network(torch.rand(2, 4, 32, 16))
    assert found.in_plane.shape == (2, 3, 16, 8)
    assert found.slices.shape == (2, 3, 4)
    flat = build("heatmap_unet", in_channels=3, points=2, width=4, depth=2)
    assert flat(torch.rand(1, 3, 16, 16)).slices is None


def test_the_slice_head_does_not_pull_at_the_heatmaps_last_layer() -> None:
    network = build("heatmap_unet", in_channels=4, points=3, slices=4, width=4, depth=2)
    network(torch.rand(2, 4, 16, 16)).slices.sum().backward()
    assert network.heatmap.weight.grad is None


def test_unknown_names_and_options_are_refused() -> None:
    assert "heatmap_unet" in model_names() and "registry" not in model_names()
    assert module_of("heatmap_unet") == "spinegrade.models.heatmap_unet"
    with refused("NAME_UNKNOWN", "heatmap_nut", "heatmap_unet"):
        build("heatmap_nut")
    with refused("OPTIONS_WRONG", "widht", "width"):
        build("heatmap_unet", in_channels=1, points=1, widht=3)
