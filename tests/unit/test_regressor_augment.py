"""Variation of a regressor's images: points stay on their pixels, and looks by hand."""

from __future__ import annotations

import math

import pytest
import torch
from spinegrade.localise.coordinates import augment as augment_module
from spinegrade.localise.coordinates.augment import as_seen, augment
from spinegrade.localise.coordinates.settings import Augmentation

STILL = Augmentation(0.0, 0.2, 0.2, 5, 0.1, 0.1, 15.0)
MOVING = Augmentation(1.0, 0.0, 0.0, 0, 0.1, 0.1, 30.0)
SIDE = 64


def dot(x: float, y: float) -> torch.Tensor:
    """One image with a dot of 2 px at (x, y), uint8 (1, 1, 2, SIDE, SIDE), two equal slices."""
    rows, cols = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    image = 250 * torch.exp(-((cols - x) ** 2 + (rows - y) ** 2) / 8)
    return image.to(torch.uint8).expand(1, 1, 2, SIDE, SIDE).contiguous()


def centre_of(image: torch.Tensor) -> tuple[float, float]:
    """The centre of mass of one slice in -1 .. 1, black being nothing."""
    mass = (image + 1).double()
    place = torch.arange(SIDE, dtype=torch.float64)
    total = mass.sum()
    return float((mass.sum(0) * place).sum() / total), float((mass.sum(1) * place).sum() / total)


@pytest.mark.parametrize("seed", range(8))
def test_a_point_stays_on_its_dot(seed: int) -> None:
    points = torch.tensor([[[24.0, 37.0, 0.4]]])
    moved, placed = augment(dot(24, 37), points, MOVING, torch.Generator().manual_seed(seed))
    for one in moved[0, 0]:
        assert centre_of(one) == pytest.approx(placed[0, 0, :2].tolist(), abs=0.1)
    assert placed[0, 0, 2] == pytest.approx(0.4)
    assert (placed[0, 0, :2] - points[0, 0, :2]).norm() > 0.5


def test_a_movement_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # A quarter turn of the frame about its centre (31.5, 31.5), 1.1 times as large, 6.4 px to the
    # right: (41.5, 31.5) is 10 px right of the centre, hence 11 px below it, then to the right.
    draws = torch.zeros(1, augment_module._DRAWS, dtype=torch.float64)
    draws[0, 9:] = torch.tensor([0.0, 1.0, 1.0, 1.0, 0.5])
    monkeypatch.setattr(augment_module.torch, "rand", lambda *_, **__: draws)
    limits = Augmentation(1.0, 0.0, 0.0, 0, 0.1, 0.1, 90.0)
    moved, placed = augment(
        dot(41.5, 31.5), torch.tensor([[[41.5, 31.5, 0.0]]]), limits, torch.Generator()
    )
    assert placed[0, 0, :2].tolist() == pytest.approx([31.5 + 6.4, 31.5 + 11.0], abs=1e-4)
    assert centre_of(moved[0, 0, 0]) == pytest.approx((37.9, 42.5), abs=0.1)


def test_without_a_chance_nothing_changes() -> None:
    images = torch.randint(0, 256, (2, 2, 3, 16, 16), dtype=torch.uint8)
    points = torch.rand(2, 4, 3) * 16
    same, placed = augment(images, points, STILL, torch.Generator().manual_seed(1))
    torch.testing.assert_close(same, images.float() / 127.5 - 1, atol=1e-5, rtol=0)
    torch.testing.assert_close(placed, points, atol=1e-5, rtol=0)


def test_all_slices_of_a_sample_are_varied_alike_and_samples_are_not() -> None:
    one = torch.randint(0, 256, (1, 1, 1, 32, 32), dtype=torch.uint8)
    images = one.expand(2, 2, 3, 32, 32).contiguous()
    limits = Augmentation(1.0, 0.2, 0.2, 5, 0.1, 0.1, 15.0)
    seen, _ = augment(images, torch.zeros(2, 1, 3), limits, torch.Generator().manual_seed(4))
    for sample in seen:
        torch.testing.assert_close(sample, sample[:1, :1].expand_as(sample))
    assert not torch.allclose(seen[0], seen[1])


@pytest.mark.parametrize("kind", [0.0, 0.4, 0.9])
def test_each_blur_leaves_an_even_image_and_flattens_a_dot(kind: float) -> None:
    limits = Augmentation(1.0, 0.0, 0.0, 5, 0.0, 0.0, 0.0)
    look = [0.9, 0.5, 0.5, 0.0, kind, 0.99, 0.0, 0.99]
    even = torch.full((1, 12, 12), 0.5)
    torch.testing.assert_close(
        augment_module._looked(even.clone(), limits, look), even, atol=0.005, rtol=0
    )
    spot = torch.full((1, 12, 12), -1.0)
    spot[0, 6, 6] = 1.0
    assert augment_module._looked(spot.clone(), limits, look).max() < 0.5


def test_the_nearest_pixels_are_the_published_ones() -> None:
    images = torch.arange(10.0).expand(1, 1, 1, 10, 10)
    published = torch.nn.functional.interpolate(images[0], size=(4, 4))
    torch.testing.assert_close(as_seen(images, 4)[0], published)
    assert as_seen(images, 10) is images
    assert math.isclose(as_seen(images, 5)[0, 0, 0, 0, 4].item(), 8.0)
