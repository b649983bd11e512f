"""Augmentation of the two-stage graders: where a dot goes, and what shares its draws."""

from __future__ import annotations

import math

import pytest
import torch
from learner_blocks import settings_of
from spinegrade.grade.views.base_augment import Draws, augmented, draw, plain
from spinegrade.grade.views.looks import as_left, mirrored_groups, outwards, sagittal_training
from spinegrade.grade.views.mixing import Mixing, draw_mixing, mixed
from spinegrade.imaging.disturb import (
    filtered,
    filtered_each,
    gaussian_filtered,
    gaussian_kernel,
    median_filtered,
)

USUAL = {"kind": "views", "grades": "canal", "reads": {"canal": "canal_sagittal"}}
USUAL["model"] = {"name": "view_plain", "encoder": {"backbone": "test_resnet"}}
STILL = settings_of(USUAL).augment._replace(base=0, flip=0, jitter=0)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def draws_of(**given: torch.Tensor) -> Draws:
    """Of one image that nothing happens to, but for what is given."""
    return draw(1, STILL, torch.Generator())._replace(**given)


def dot(row: int, col: int, rows: int = 41, cols: int = 41) -> torch.Tensor:
    image = torch.zeros(1, 1, rows, cols, dtype=torch.uint8)
    image[..., row, col] = 255
    return image


def place(seen: torch.Tensor) -> tuple[float, float]:
    """The centre (y, x) of what is bright, from the middle of the image."""
    weight = seen[0, 0] + 1
    rows, cols = weight.shape
    y = (weight.sum(dim=1) * (torch.arange(rows) - (rows - 1) / 2)).sum() / weight.sum()
    x = (weight.sum(dim=0) * (torch.arange(cols) - (cols - 1) / 2)).sum() / weight.sum()
    return float(y), float(x)


def test_nothing_drawn_is_the_middle_of_the_stored_crop():
    images = torch.randint(0, 256, (3, 2, 20, 24), dtype=torch.uint8)
    found = augmented(images, draw(3, STILL, torch.Generator()), (12, 16), "x")
    torch.testing.assert_close(found, plain(images, (12, 16)), atol=1e-5, rtol=0)
    assert plain(images, (12, 16))[0, 0, 0, 0] == images[0, 0, 4, 4] / 127.5 - 1


@pytest.mark.parametrize(
    ("given", "flip_axis", "expected"),
    [
        # A dot 6 px to the right of the middle and 8 above it.
        ({}, "x", (-8, 6)),
        ({"flip": torch.tensor([True])}, "x", (-8, -6)),
        ({"flip": torch.tensor([True])}, "y", (8, 6)),
        ({"zoom": torch.tensor([1.5])}, "x", (-12, 9)),
        # The content is turned by the angle, from x towards y: (6, -8) to (8, 6).
        ({"angle": torch.tensor([math.pi / 2])}, "x", (-6, -8)),
        # Cut 3 px to the right and 2 below, the dot lies as much to the left and above.
        ({"shift": torch.tensor([[0.1, -0.1]])}, "x", (-8 - 4.1, 6 + 4.1)),
    ],
)
def test_where_a_dot_goes(given, flip_axis, expected):
    seen = augmented(dot(20 - 8, 20 + 6), draws_of(**given), (41, 41), flip_axis)
    assert place(seen) == pytest.approx(expected, abs=0.02)


def test_a_crop_cut_beside_its_point():
    moved = torch.tensor([[3.0, 2.0]])
    seen = augmented(dot(20 - 8, 20 + 6), draws_of(), (41, 41), "x", moved)
    assert place(seen) == pytest.approx((-10, 3), abs=0.02)


def test_a_rotation_turns_the_patient_where_pixels_are_not_square():
    """Pixels twice as high as wide: 8 rows above the middle are 16 widths."""
    turned = draws_of(angle=torch.tensor([math.pi / 2]))
    seen = augmented(dot(20 - 8, 20), turned, (41, 41), "x", aspect=torch.tensor([2.0]))
    assert place(seen) == pytest.approx((0, -16), abs=0.02)


def test_what_comes_from_outside_is_black_however_bright_the_image():
    white = torch.full((1, 1, 20, 20), 255, dtype=torch.uint8)
    bright = draws_of(offset=torch.tensor([0.2]), zoom=torch.tensor([0.5]))
    seen = augmented(white, bright, (20, 20), "x")
    assert seen[0, 0, 10, 10] == pytest.approx(1) and seen[0, 0, 0, 0] == pytest.approx(-1)


def test_brightness_and_contrast_by_hand():
    grey = torch.full((1, 1, 8, 8), 102, dtype=torch.uint8)  # 0.4 of white
    drawn = draws_of(factor=torch.tensor([1.1]), offset=torch.tensor([-0.1]))
    seen = augmented(grey, drawn, (8, 8), "x")
    torch.testing.assert_close(seen, torch.full((1, 1, 8, 8), 2 * (0.44 - 0.1) - 1))


def test_each_image_has_its_own_blur():
    images = torch.rand(3, 2, 16, 16) * 2 - 1
    kernels = torch.zeros(3, 5, 5, dtype=torch.float64)
    kernels[0, 1:4, 1:4], kernels[1] = gaussian_kernel(3), gaussian_kernel(5)
    kernels[2, 2, 0] = 1.0
    found = filtered_each(images, kernels)
    torch.testing.assert_close(found[0], gaussian_filtered(images[0], 3))
    torch.testing.assert_close(found[1], gaussian_filtered(images[1], 5))
    torch.testing.assert_close(found[2], filtered(images[2], kernels[2]))


def test_draws_hold_blurs_as_often_as_asked_for():
    drawn = draw(4000, STILL._replace(base=0.75), torch.Generator().manual_seed(1))
    by_median = drawn.median > 0
    assert not (by_median & drawn.blurred).any()
    assert float(by_median.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(drawn.blurred.float().mean()) == pytest.approx(0.5, abs=0.03)
    assert set(drawn.median.unique().tolist()) == {0, 3, 5}
    torch.testing.assert_close(
        drawn.kernels[drawn.blurred].sum(dim=(1, 2)), torch.ones(int(drawn.blurred.sum()))
    )
    assert drawn.angle.abs().max() <= math.radians(15)
    assert ((drawn.zoom - 1).abs() <= 0.1 + 1e-6).all() and (drawn.shift.abs() <= 0.1).all()
    assert float((drawn.angle == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    image = torch.randint(0, 256, (1, 1, 16, 16), dtype=torch.uint8)
    seen = augmented(image, draws_of(median=torch.tensor([3])), (16, 16), "x")
    expected = median_filtered(image[0].float() / 127.5 - 1, 3)[None]
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)


def test_all_crops_of_a_study_from_one_stack_move_alike():
    crops = torch.zeros(2, 3, 5, 1, 41, 41, dtype=torch.uint8)
    crops[..., 12, 26] = 255
    aspects = torch.ones(2, 3, 5)
    settings = STILL._replace(base=1.0, brightness=0, contrast=0, flip=0.5)
    draws = torch.Generator().manual_seed(3)
    seen = sagittal_training(crops, aspects, settings, (41, 41), draws, (0, 1, 1))
    same = [[torch.allclose(seen[b, g], seen[b, 1], atol=1e-5) for g in range(3)] for b in range(2)]
    assert same == [[False, True, True]] * 2
    assert torch.allclose(seen[0, 1, 0], seen[0, 1, 4], atol=1e-5)
    assert not torch.allclose(seen[0, 1], seen[1, 1], atol=1e-2)


def test_jitter_is_of_each_crop_and_the_middle_slice_is_never_lost():
    crops = torch.zeros(4, 1, 5, 3, 41, 41, dtype=torch.uint8)
    crops[..., 20, 20] = 255
    settings = STILL._replace(jitter=1.0, jitter_px=4.0, slice_loss=0.5)
    draws = torch.Generator().manual_seed(3)
    seen = sagittal_training(crops, torch.ones(4, 1, 5), settings, (31, 31), draws)
    assert seen.shape == (4, 1, 5, 3, 31, 31)
    places = {
        tuple(round(v, 2) for v in place(seen[b, 0, level, 1][None, None]))
        for b in range(4)
        for level in range(5)
    }
    assert len(places) == 20 and all(abs(v) <= 4.01 for found in places for v in found)
    lost = seen.amax(dim=(4, 5)) < -0.99
    assert not lost[..., 1].any() and lost[..., [0, 2]].any()
    assert torch.equal(lost[:, :, 0], lost[:, :, 4]), "a slice of the stack is lost at all levels"
    bare = sagittal_training(crops, torch.ones(4, 1, 5), settings, (41, 41), draws)
    assert place(bare[2, 0, 3, 1][None, None]) == pytest.approx((0, 0), abs=0.02), "no margin"


def test_sagittal_slices_beside_a_recess_come_from_the_middle_out():
    slices = torch.arange(7).reshape(1, 1, 1, 7, 1, 1).expand(1, 2, 5, 7, 1, 1)
    found = outwards(slices)[0, :, 0, :, 0, 0]
    # The patient's left lies at the later slices.
    assert found.tolist() == [[3, 4, 5, 6], [3, 2, 1, 0]]


def test_right_recesses_are_seen_as_left_ones_head_first():
    crops = torch.arange(3 * 2 * 2).reshape(1, 1, 1, 3, 2, 2).expand(1, 2, 5, 3, 2, 2)
    found = as_left(crops, 1)
    assert found.shape == (1, 2, 5, 3, 1, 2, 2)
    assert found[0, 0, 0, 0, 0].tolist() == [[8, 9], [10, 11]], "the last slice is nearest the head"
    assert found[0, 1, 0, 0, 0].tolist() == [[9, 8], [11, 10]]
    beside = as_left(crops, 3)[0, 0, 0, :, :, 0, 0]
    assert beside.tolist() == [[8, 8, 4], [8, 4, 0], [4, 0, 0]]


def test_a_mirror_exchanges_the_sides():
    assert mirrored_groups((0, 1, 2)) == [0, 2, 1]
    assert mirrored_groups((1, 2)) == [1, 0] and mirrored_groups((0,)) == [0]


def test_mixing_by_hand():
    inputs = {
        "sagittal": torch.tensor([1.0, -1.0, 0.5]).reshape(3, 1, 1, 1),
        "sagittal_there": torch.tensor([[[True]], [[False]], [[True]]])[..., 0],
    }
    found = mixed(inputs, Mixing(0.75, torch.tensor([1, 2, 0])))
    # The second row's crop is not there: it counts as 0.
    assert found["sagittal"].flatten().tolist() == [0.75, 0.125, 0.375 + 0.25]
    assert found["sagittal_there"].flatten().tolist() == [True, True, True]


def test_sequences_are_mixed_as_images_of_their_rows():
    inputs = {
        "sagittal": torch.ones(3, 1, 1, 1),
        "sagittal_there": torch.ones(3, 1, dtype=torch.bool),
        "axial": torch.tensor([4.0, 8.0]).reshape(2, 1, 1, 1, 1),
        "owner": torch.tensor([0, 2]),
    }
    found = mixed(inputs, Mixing(0.75, torch.tensor([1, 1, 0])))
    assert found["owner"].tolist() == [0, 2]
    assert found["axial"].flatten().tolist() == [3.0, 7.0]
    turned = mixed(inputs, Mixing(0.75, torch.tensor([0, 2, 1])))
    assert turned["owner"].tolist() == [0, 1, 2]
    assert turned["axial"].flatten().tolist() == [4.0, 2.0, 6.0]


def test_batches_are_mixed_in_the_first_epochs_and_by_chance():
    settings = STILL._replace(mixup=0.2, mixup_epochs=6)
    draws = torch.Generator().manual_seed(0)
    early = [draw_mixing(settings, 5, 4, draws) for _ in range(1000)]
    shares = torch.tensor([one.share for one in early if one])
    assert len(shares) == pytest.approx(200, abs=40)
    assert shares.mean() == pytest.approx(0.5, abs=0.07) and shares.max() > 0.9
    assert all(draw_mixing(settings, 6, 4, draws) is None for _ in range(100))
