"""Augmentation moves points with pixels, and a mirror exchanges left and right."""

from __future__ import annotations

import pytest
import torch
from spinegrade.localise.heatmap.augment import Batch, Strength, augment
from spinegrade.regions.lumbar_mri import TARGETS

STILL = Strength(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
SHAPE = (9, 48, 40)
WIDTHS = (0.5, 1.5, 1.5)  # of a dot along slices, rows and columns


def dots(points: torch.Tensor) -> torch.Tensor:
    """uint8 images (B, *SHAPE) with one smooth dot at each (x, y, slice)."""
    axes = [torch.arange(size, dtype=torch.float32) for size in SHAPE]
    images = []
    for x, y, z in points.tolist():
        along, down, across = (
            torch.exp(-((axis - place) ** 2) / (2 * width**2))
            for axis, place, width in zip(axes, (z, y, x), WIDTHS, strict=True)
        )
        images.append(along[:, None, None] * down[:, None] * across)
    return (torch.stack(images) * 255).round().to(torch.uint8)


def centroid(image: torch.Tensor) -> torch.Tensor:
    """(x, y, slice) of the mass of (slices, rows, cols)."""
    z, y, x = torch.meshgrid(*(torch.arange(s).float() for s in image.shape), indexing="ij")
    weight = image.clamp(min=0) / image.clamp(min=0).sum()
    return torch.stack([(weight * axis).sum() for axis in (x, y, z)])


def run(points: torch.Tensor, plane: str, strength: Strength, **changes: object) -> Batch:
    target = TARGETS["canal" if plane == "sagittal" else "subarticular"]
    options: dict = {
        "strength": strength,
        "plane": plane,
        "mirror": [0],
        "size": SHAPE[1:],
        "pixel_mm": 2.0,
        "slice_mm": 4.0,
        "generator": torch.Generator().manual_seed(5),
    }
    assert target.plane == plane
    known = torch.ones(len(points), 1, dtype=torch.bool)
    return augment(dots(points), points[:, None], known, **(options | changes))


@pytest.mark.parametrize("plane", ["sagittal", "axial"])
def test_a_moved_dot_lies_at_its_moved_point(plane: str) -> None:
    middle = torch.tensor([19.5, 23.5, 4.0])
    away = torch.rand(24, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    points = middle + away * 4
    if plane == "axial":
        points[:, 2] = 4.0
    strength = STILL._replace(
        shift_mm=3.0,
        scale=0.15,
        rotation_degrees=15,
        slice_shift_mm=3.0,
        slice_scale=0.1,
        mirror=0.5,
    )
    if plane == "axial":
        strength = strength._replace(slice_shift_mm=0.0, slice_scale=0.0)
    moved = run(points, plane, strength)
    assert moved.known.all()
    found = torch.stack([centroid(image) for image in moved.images])
    assert (moved.points[:, 0] - points).abs().max() > 2.0
    torch.testing.assert_close(found, moved.points[:, 0], atol=0.15, rtol=0.0)


def test_without_strength_nothing_moves() -> None:
    points = torch.tensor([[12.0, 30.0, 3.0]])
    still = run(points, "sagittal", STILL)
    torch.testing.assert_close(still.points[:, 0], points)
    torch.testing.assert_close(still.images, dots(points).float() / 255, atol=1e-5, rtol=0.0)


def test_a_smaller_result_is_cut_from_the_middle() -> None:
    points = torch.tensor([[19.0, 23.0, 4.0]])
    cut = run(points, "axial", STILL, size=(32, 24))
    # (40 - 24) / 2 columns and (48 - 32) / 2 rows are gone on the near side.
    torch.testing.assert_close(cut.points[0, 0], torch.tensor([11.0, 15.0, 4.0]))
    torch.testing.assert_close(cut.images, dots(points)[:, :, 8:40, 8:32].float() / 255)


def test_a_point_that_leaves_the_image_is_no_longer_known() -> None:
    points = torch.tensor([[2.0, 23.0, 4.0]])
    assert not run(points, "axial", STILL, size=(32, 24)).known.any()


@pytest.mark.parametrize(
    ("plane", "left", "mirror_of_left"),
    [
        # Slices grow to the left: the mirror of slice 7 of 9 is slice 1.
        ("sagittal", (15.0, 20.0, 7.0), (15.0, 20.0, 1.0)),
        # Columns grow to the left: the mirror of column 30 of 40 is column 9.
        ("axial", (30.0, 20.0, 4.0), (9.0, 20.0, 4.0)),
    ],
)
def test_a_mirror_makes_the_left_point_the_right_one(
    plane: str, left: tuple[float, ...], mirror_of_left: tuple[float, ...]
) -> None:
    points = torch.tensor([[left, (15.0, 10.0, 4.0)]])
    known = torch.tensor([[True, False]])
    mirrored = augment(
        dots(points[:, 0]),
        points,
        known,
        strength=STILL._replace(mirror=1.0),
        plane=plane,
        mirror=[1, 0],
        size=SHAPE[1:],
        pixel_mm=1.0,
        slice_mm=1.0,
        generator=torch.Generator().manual_seed(0),
    )
    assert mirrored.known.tolist() == [[False, True]]
    torch.testing.assert_close(mirrored.points[0, 1], torch.tensor(mirror_of_left))
    found = centroid(mirrored.images[0])
    torch.testing.assert_close(found, torch.tensor(mirror_of_left), atol=0.1, rtol=0.0)


def test_targets_exchange_sides_at_the_same_level() -> None:
    foraminal = TARGETS["foraminal"]
    assert foraminal.mirror == (5, 6, 7, 8, 9, 0, 1, 2, 3, 4)
    assert foraminal.chains == ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))
    assert TARGETS["canal"].mirror == (0, 1, 2, 3, 4)
    assert TARGETS["subarticular"].mirror == (1, 0)
