"""Regressors' networks and their loss, by hand."""

from __future__ import annotations

import pytest
import torch
from spinegrade.losses.registry import build as build_loss
from spinegrade.models.registry import build


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_a_network_tells_as_many_coordinates_as_asked_for() -> None:
    options = {"backbone": "test_resnet", "channels": 2, "points": 5, "image_px": 32}
    volume = build("volume_regressor", coordinates=3, **options)
    assert volume(torch.zeros(2, 2, 32, 32, 32)).shape == (2, 5, 3)
    image = build("image_regressor", coordinates=2, **options)
    assert image(torch.zeros(2, 2, 1, 32, 32)).shape == (2, 5, 2)


def test_the_loss_counts_known_coordinates_alone() -> None:
    found = torch.tensor([[[1.0, 2.0], [9.0, 9.0]]], requires_grad=True)
    wanted = torch.tensor([[[1.5, 0.0], [0.0, 0.0]]])
    known = torch.tensor([[True, False]])
    # |2 * -0.5| = 1 and |2 * 2| = 4: their mean; smooth below 1 is half the square.
    assert build_loss("coordinate_distance", distance="l1", weight=2.0)(
        found, wanted, known
    ).item() == pytest.approx(2.5)
    smooth = build_loss("coordinate_distance", distance="smooth_l1")(found, wanted, known)
    assert smooth.item() == pytest.approx((0.5 * 0.25 + 1.5) / 2)
    smooth.backward()
    assert found.grad[0, 1].abs().sum() == 0
    nothing = build_loss("coordinate_distance", distance="l1")(found, wanted, known & False)
    assert nothing.item() == 0
