"""One-stage augmentation: points move with the pixels, and a mirror exchanges left and right."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from learner_blocks import of_volumes
from spinegrade.errors import SpinegradeError
from spinegrade.grade.volumes.augment import Batch, augment, draw_cutouts, plain
from spinegrade.grade.volumes.augmentation import Augmentation, augmentation_of
from spinegrade.grade.volumes.flip import exchange_sides
from spinegrade.imaging.disturb import (
    add_noise,
)

CANVAS, IMAGE = 128, 64
LENGTHS = [4, 3, 5, 4, 6, 3, 5, 4]
MIRROR = (5, 6, 7, 8, 9, 0, 1, 2, 3, 4)
CHANCES = ("reversal", "align", "homography", "cutout", "brightness_contrast", "disturb")
STILL = replace(augmentation_of(of_volumes("foraminal", IMAGE)), **dict.fromkeys(CHANCES, 0.0))
ALWAYS = {"reversal": 0.5, "cutout": 1.0, "brightness_contrast": 1.0, "disturb": 1.0}
# A column of foramina a side, the right one two px in front: (x, y) on the canvas.
SHAPE = torch.tensor(
    [[64.0 - 2 * side, 34.0 + 15 * level] for side in (0, 1) for level in range(5)]
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def spread_points(seed: int = 0) -> torch.Tensor:
    """(B, 10, 3) points around SHAPE: left ones in the last slices, right ones in the first."""
    draws = torch.Generator().manual_seed(seed)
    points = torch.zeros(len(LENGTHS), 10, 3)
    points[..., :2] = SHAPE + torch.randn(len(LENGTHS), 10, 2, generator=draws) * 3
    for place, length in enumerate(LENGTHS):
        points[place, :5, 2], points[place, 5:, 2] = length - 1, 0
    return points


def dotted(points: torch.Tensor, which: list[int]) -> torch.Tensor:
    """Packed black slices with a smooth dot at point ``which[b]`` of volume b."""
    rows, cols = torch.meshgrid(torch.arange(CANVAS), torch.arange(CANVAS), indexing="ij")
    volumes = []
    for place, length in enumerate(LENGTHS):
        x, y, z = points[place, which[place]].tolist()
        volume = torch.zeros(length, CANVAS, CANVAS)
        volume[round(z)] = 200 * torch.exp(-((cols - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
        volumes.append(volume)
    return torch.cat(volumes).round().to(torch.uint8)


def run(slices: torch.Tensor, points: torch.Tensor, settings: Augmentation, seed: int = 1) -> Batch:
    known = torch.ones(points.shape[:2], dtype=torch.bool)
    draws = torch.Generator().manual_seed(seed)
    shape = SHAPE[: points.shape[1]]
    return augment(
        slices, LENGTHS, points, known, settings=settings, mean_shape=shape, generator=draws
    )


def found_dots(batch: Batch) -> torch.Tensor:
    """(B, 3) image px and slice of the dot in each volume: the centre of what is half as bright."""
    found = []
    for volume in batch.slices[:, 0].split(LENGTHS):
        floor = volume.median()
        weight = (volume - floor - (volume.max() - floor) / 2).clamp(min=0)
        z = int(weight.flatten(1).sum(1).argmax())
        y, x = torch.meshgrid(torch.arange(IMAGE), torch.arange(IMAGE), indexing="ij")
        total = weight[z].sum()
        found.append(
            [float((weight[z] * x).sum() / total), float((weight[z] * y).sum() / total), z]
        )
    return torch.tensor(found)


def expected_dots(batch: Batch, which: list[int]) -> torch.Tensor:
    """Where the batch says that the dots are, (B, 3) image px and slice."""
    places = [
        MIRROR[point] if back else point
        for point, back in zip(which, batch.reversed.tolist(), strict=True)
    ]
    mask = batch.points[torch.arange(len(places)), torch.tensor(places)]
    return torch.cat([(mask[:, :2] + 0.5) * 4 - 0.5, mask[:, 2:]], dim=1)


EVERY = {
    "nothing": {},
    "reversal": {"reversal": 0.5},
    "alignment": {"align": 1.0},
    "alignment, published middle": {"align": 1.0, "recentre": "published"},
    "homography": {"homography": 1.0},
    "cutout": {"cutout": 1.0},
    "brightness and contrast": {"brightness_contrast": 1.0},
    **{kind: {"disturb": 1.0, "disturb_by": (kind,)} for kind in ("motion", "median", "gaussian")},
    "noise": {"disturb": 1.0, "disturb_by": ("noise",)},
    "all with alignment": {**ALWAYS, "align": 1.0},
    "all with homography": {**ALWAYS, "homography": 1.0},
}


@pytest.mark.parametrize("change", EVERY.values(), ids=EVERY.keys())
def test_a_dot_is_found_at_its_point(change: dict) -> None:
    points = spread_points()
    for seed in range(3):
        which = [(place + 3 * seed) % 10 for place in range(len(LENGTHS))]
        batch = run(dotted(points, which), points, replace(STILL, **change), seed)
        assert batch.known.all()
        found, expected = found_dots(batch), expected_dots(batch, which)
        torch.testing.assert_close(found[:, 2], expected[:, 2])
        assert (found - expected).abs().max() < 0.6
        moved = expected_dots(batch, which) - (points[range(8), which] + 0.5) / 2 + 0.5
        if "align" in change or "homography" in change:
            assert moved[:, :2].abs().max() > 2.0


def test_affine_movements_hit_the_dot_within_a_fiftieth_of_a_mask_pixel() -> None:
    points, which = spread_points(), [2] * 8
    batch = run(dotted(points, which), points, replace(STILL, align=1.0))
    off = (found_dots(batch) - expected_dots(batch, which)).abs().max()
    assert off / 4 < 0.02


def test_reversed_slices_are_exactly_the_slices_in_reverse() -> None:
    points = spread_points()
    slices = torch.randint(0, 256, (sum(LENGTHS), CANVAS, CANVAS), dtype=torch.uint8)
    grades = torch.arange(80).view(8, 10)
    straight = run(slices, points, STILL)
    reverse = run(slices, points, replace(STILL, reversal=1.0))
    assert not straight.reversed.any() and reverse.reversed.all()
    back = torch.cat([volume.flip(0) for volume in reverse.slices.split(LENGTHS)])
    assert torch.equal(back, straight.slices)
    # Three slices: what was the left foramen in slice 2 is the right one in slice 0.
    torch.testing.assert_close(reverse.points[1, 5, :2], straight.points[1, 0, :2])
    assert (straight.points[1, 0, 2], reverse.points[1, 5, 2]) == (2, 0)
    torch.testing.assert_close(reverse.points[..., :2], straight.points[:, MIRROR, :2])
    assert exchange_sides(grades, reverse.reversed, MIRROR)[1].tolist() == [
        *range(15, 20),
        *range(10, 15),
    ]


def everything(target: str, flip: str) -> Augmentation:
    given = {"disturb": 1.0, "align": 0.5, "homography": 0.5}
    kept = ["flip"] * (flip == "bugged")
    return augmentation_of(of_volumes(target, IMAGE, kept, **given))


def test_bugged_differs_from_fixed_in_the_sides_of_reversed_volumes_alone() -> None:
    points = spread_points()
    slices = torch.randint(0, 256, (sum(LENGTHS), CANVAS, CANVAS), dtype=torch.uint8)
    fixed = run(slices, points, everything("foraminal", "fixed"))
    bugged = run(slices, points, everything("foraminal", "bugged"))
    grades = torch.arange(80).view(8, 10)
    assert torch.equal(fixed.slices, bugged.slices)
    assert torch.equal(fixed.reversed, bugged.reversed)
    back = fixed.reversed
    assert 0 < back.sum() < 8
    assert torch.equal(fixed.points[~back], bugged.points[~back])
    assert torch.equal(fixed.points[back], bugged.points[back][:, MIRROR])
    assert not torch.equal(fixed.points[back], bugged.points[back])
    # z is mirrored in both: a bugged left point lies where right ones do.
    assert (bugged.points[back][:, :5, 2] == 0).all()
    assert (fixed.points[back][:, 5:, 2] == 0).all()
    assert torch.equal(exchange_sides(grades, back, MIRROR, "bugged"), grades)


def test_a_flip_of_the_canal_exchanges_nothing() -> None:
    points = spread_points()[:, :5]
    slices = torch.randint(0, 256, (sum(LENGTHS), CANVAS, CANVAS), dtype=torch.uint8)
    fixed, bugged = (run(slices, points, everything("canal", flip)) for flip in ("fixed", "bugged"))
    assert fixed.reversed.any()
    for one, other in zip(fixed, bugged, strict=True):
        assert torch.equal(one, other)


def test_partly_known_points_exchange_what_is_known_and_the_others_have_no_say() -> None:
    points = spread_points()
    known = torch.ones(8, 10, dtype=torch.bool)
    known[:, 7] = False
    slices = dotted(points, [0] * 8)
    batches = []
    for wrong in (0.0, 5000.0):
        points[:, 7, :2] = wrong
        draws = torch.Generator().manual_seed(4)
        settings = replace(STILL, reversal=0.5, align=0.5, homography=0.5, cutout=1.0)
        batches.append(
            augment(
                slices, LENGTHS, points, known, settings=settings, mean_shape=SHAPE, generator=draws
            )
        )
    for batch in batches:
        unknown = [2 if back else 7 for back in batch.reversed.tolist()]
        assert [(~row).nonzero().item() for row in batch.known] == unknown
    assert torch.equal(batches[0].slices, batches[1].slices)


def test_a_cutout_is_black_above_the_topmost_point_and_nowhere_else() -> None:
    points = spread_points()
    white = torch.full((sum(LENGTHS), CANVAS, CANVAS), 255, dtype=torch.uint8)
    seen = 0
    for seed in range(6):
        batch = run(white, points, replace(STILL, cutout=1.0), seed)
        for volume, own in zip(batch.slices[:, 0].split(LENGTHS), batch.points, strict=True):
            top = int(((own[:, 1].min() + 0.5) * 4 - 0.5).floor())
            black = volume == -1
            assert (volume[~black] == 1).all()
            assert not black[:, top:].any()
            # One rectangle, the same in all slices.
            rows, cols = black[0].any(1), black[0].any(0)
            assert torch.equal(black, (rows[:, None] & cols).expand_as(black))
            seen += bool(black.any())
    assert seen > 40


def test_a_cutout_that_reaches_down_to_a_point_leaves_its_row() -> None:
    heights = torch.linspace(2, 120, 3000, dtype=torch.float64)
    in_plane = torch.stack([torch.full_like(heights, 60), heights], dim=1)[:, None]
    known = torch.ones(3000, 1, dtype=torch.bool)
    for image_px in (64, 96):
        settings = replace(STILL, cutout=1.0, image_px=image_px)
        edges = draw_cutouts(in_plane, known, CANVAS, settings, torch.Generator().manual_seed(0))
        # Image row of the point, by the centres of pixels.
        rows = ((heights + 0.5) * image_px / CANVAS - 0.5).tolist()
        gaps = [row - (bottom - 1) for row, (_, bottom, _, _) in zip(rows, edges, strict=True)]
        assert 1.0 <= min(gaps) < 1.1
    nothing = draw_cutouts(in_plane, ~known, CANVAS, settings, torch.Generator().manual_seed(0))
    assert set(nothing) == {(0, 0, 0, 0)}


def test_a_point_outside_the_image_is_not_known() -> None:
    points = spread_points()
    points[2, 4, 0], points[3, 1, 1] = 130.0, -1.0
    batch = run(dotted(spread_points(), [0] * 8), points, STILL)
    assert (~batch.known).nonzero().tolist() == [[2, 4], [3, 1]]


def test_draws_come_from_the_generator_alone() -> None:
    points = spread_points()
    slices = torch.randint(0, 256, (sum(LENGTHS), CANVAS, CANVAS), dtype=torch.uint8)
    settings = everything("foraminal", "fixed")
    torch.manual_seed(0)
    one = run(slices, points, settings)
    torch.manual_seed(1)
    again, other = run(slices, points, settings), run(slices, points, settings, seed=2)
    for first, second in zip(one, again, strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(one.slices, other.slices)


def test_without_augmentation_the_image_is_that_of_opencv() -> None:
    slices = torch.randint(0, 256, (3, CANVAS, CANVAS), dtype=torch.uint8)
    batch = plain(slices, torch.zeros(1, 5, 3), 96)
    assert batch.slices.shape == (3, 1, 96, 96)
    expected = cv2.resize(slices[1].numpy().astype(np.float32), (96, 96)) / 127.5 - 1
    np.testing.assert_allclose(batch.slices[1, 0].numpy(), expected, atol=1e-4)
    still = run(dotted(spread_points(), [4] * 8), spread_points(), STILL)
    same = plain(dotted(spread_points(), [4] * 8), spread_points(), IMAGE)
    torch.testing.assert_close(still.slices, same.slices, atol=1e-5, rtol=0)
    torch.testing.assert_close(still.points, same.points)


def test_published_mask_points_are_multiplied_alone() -> None:
    points = spread_points()
    batch = run(dotted(points, [0] * 8), points, replace(STILL, mask_offset="published"))
    torch.testing.assert_close(batch.points[..., :2], points[..., :2] / 8)


def test_noise_has_the_variance_asked_for() -> None:
    noisy = add_noise(torch.zeros(4, 100, 100), 36.0, seed=3) * 127.5
    assert noisy.std() == pytest.approx(6.0, rel=0.02)
    assert noisy.mean() == pytest.approx(0.0, abs=0.1)
    grey = torch.full((sum(LENGTHS), CANVAS, CANVAS), 128, dtype=torch.uint8)
    settings = replace(STILL, disturb=1.0, disturb_by=("noise",))
    volumes = run(grey, spread_points(), settings).slices.split(LENGTHS)
    middle = 128 / 127.5 - 1
    # Volumes and slices do not share their noise: half of the signs agree.
    for one, other in ((volumes[0], volumes[3]), (volumes[0][:1], volumes[0][1:2])):
        assert ((one > middle) == (other > middle)).float().mean() == pytest.approx(0.5, abs=0.05)
    assert min(float(v.std()) for v in volumes) * 127.5 > 10**0.5 * 0.95
    assert max(float(v.std()) for v in volumes) * 127.5 < 50**0.5 * 1.05


def test_tensors_that_do_not_fit_are_refused() -> None:
    points = spread_points()
    slices = dotted(points, [0] * 8)
    with pytest.raises(SpinegradeError, match="33 packed slices, but the volumes' lengths"):
        run(slices[1:], points, STILL)
    with pytest.raises(SpinegradeError, match=r"expected \(8, P, 3\)"):
        run(slices, points[:3], STILL)
    with pytest.raises(SpinegradeError, match=r"torch.float32 .*expected uint8"):
        run(slices.float(), points, STILL)
    with pytest.raises(SpinegradeError, match="settings of 10 points do not fit 5 points"):
        run(slices, points[:, :5], STILL)
