"""What the network sees: mirrored to one side, shifted by the measured error."""

from __future__ import annotations

import numpy as np
import torch
from spinegrade.crop_shape import CropShape
from spinegrade.grade.cells.augment import StoredCrops, look
from spinegrade.grade.cells.settings import Augmentation

SHAPE = CropShape(slices=3, slice_margin=1, rows=9, cols=9, margin_px=3)
STILL = Augmentation(
    jitter=0, rotation_degrees=0, scale=0, contrast=0, brightness=0, gamma=0, noise=0, mirror=0
)


def stored(
    count: int,
    dot: tuple[int, int, int],
    mirrored: bool = False,
    sided: bool = True,
    flips_x: bool = True,
    shift_px: float = 0.0,
    shift_slices: float = 0.0,
) -> StoredCrops:
    """Black crops with one white dot at (slice, y, x) from the middle."""
    pixels = torch.zeros((count, *SHAPE.stored), dtype=torch.uint8)
    middle = np.array([2, 7, 7]) + dot
    pixels[:, middle[0], middle[1], middle[2]] = 255
    return StoredCrops(
        pixels,
        torch.full((count,), mirrored),
        torch.full((count,), sided),
        torch.full((count,), flips_x),
        torch.full((count,), shift_px),
        torch.full((count,), shift_slices),
    )


def dots(seen: torch.Tensor) -> np.ndarray:
    """Brightest (slice, y, x) of each crop from the middle of what is seen."""
    places = [np.unravel_index(int(crop.argmax()), crop.shape) for crop in seen]
    return np.array(places) - [1, 4, 4]


def test_the_middle_is_seen_as_stored():
    seen = look(stored(2, (1, -2, 3)), SHAPE)
    assert seen.shape == (2, 3, 9, 9)
    assert seen.max() == 1 and seen.min() == -1
    np.testing.assert_array_equal(dots(seen), [(1, -2, 3)] * 2)
    by_grid = look(stored(2, (1, -2, 3)), SHAPE, STILL, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(by_grid, seen, atol=1e-3)


def test_right_sides_are_seen_as_left():
    """A dot lateral to a right point lies where that lateral to a left one lies."""
    draws = torch.Generator().manual_seed(0)
    for augmentation in (None, STILL):
        axial = look(stored(1, (1, -2, 3), mirrored=True), SHAPE, augmentation, draws)
        np.testing.assert_array_equal(dots(axial), [(1, -2, -3)])
        sagittal = stored(1, (1, -2, 3), mirrored=True, flips_x=False)
        seen = look(sagittal, SHAPE, augmentation, draws)
        np.testing.assert_array_equal(dots(seen), [(-1, -2, 3)])


def test_only_central_cells_are_mirrored_at_will():
    always = Augmentation(**{**STILL._asdict(), "mirror": 1.0})
    draws = torch.Generator().manual_seed(0)
    central = stored(1, (1, -2, 3), sided=False)
    np.testing.assert_array_equal(dots(look(central, SHAPE, always, draws)), [(1, -2, -3)])
    np.testing.assert_array_equal(dots(look(central, SHAPE, mirror_central=True)), [(1, -2, -3)])
    left = stored(1, (1, -2, 3))
    np.testing.assert_array_equal(dots(look(left, SHAPE, always, draws)), [(1, -2, 3)])
    np.testing.assert_array_equal(dots(look(left, SHAPE, mirror_central=True)), [(1, -2, 3)])


def test_jitter_has_the_measured_spread_and_stays_in_the_margin():
    jittered = Augmentation(**{**STILL._asdict(), "jitter": 1.0})
    draws = torch.Generator().manual_seed(1)
    many = stored(4000, (0, 0, 0), shift_px=1.2, shift_slices=0.6)
    found = dots(look(many, SHAPE, jittered, draws))
    spread = found.std(axis=0)
    # Normal shifts of 1.2 px, clamped at 3 px: 1.19; rounded to whole pixels: + 1/12.
    np.testing.assert_allclose(spread[1:], 1.23, atol=0.06)
    # Whole slices, no more than one: share beyond half a slice of 0.6 is 0.405.
    np.testing.assert_allclose((found[:, 0] != 0).mean(), 0.405, atol=0.03)
    assert np.abs(found).max(axis=0).tolist() == [1, 3, 3]


def test_rotation_and_scale_turn_about_the_keypoint():
    turned = Augmentation(**{**STILL._asdict(), "rotation_degrees": 10.0, "scale": 0.1})
    draws = torch.Generator().manual_seed(1)
    seen = look(stored(50, (0, 0, 0)), SHAPE, turned, draws)
    np.testing.assert_array_equal(dots(seen), [(0, 0, 0)] * 50)
