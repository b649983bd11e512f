"""Movements of the one-stage canvas, with answers worked out by hand and by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from spinegrade.grade.volumes.augment import sampling_grids
from spinegrade.grade.volumes.canvas import from_mask, to_mask
from spinegrade.grade.volumes.warps import (
    WarpLimits,
    aligned,
    apply_homography,
    homography_of,
    perspective,
    similarity_by_consensus,
)

CANVAS = 100
LIMITS = WarpLimits(
    scale=(0.0, 0.0),
    rotation_degrees=0.0,
    shift_px=0.0,
    border_px=5.0,
    corner=0.2,
    corner_border_px=5.0,
    inlier_px=3.0,
    tries=20,
    recentre="shifted",
)
# Not symmetric, so that no other turn fits: box from (-10, -30) to (10, 30).
SHAPE = torch.tensor([[-10.0, -30.0], [0.0, -12.0], [10.0, 2.0], [4.0, 15.0], [-6.0, 30.0]])


def known(count: int, points: int = 5) -> torch.Tensor:
    return torch.ones(count, points, dtype=torch.bool)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moved_by(matrices: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    return apply_homography(matrices, points.double())[0].float()


def test_points_turned_and_shrunk_come_back_to_the_shape_in_the_middle() -> None:
    # A quarter turn takes (x, y) to (-y, x); then half as large, then moved away.
    turned = torch.stack([-SHAPE[:, 1], SHAPE[:, 0]], dim=1) / 2 + torch.tensor([30.0, 61.0])
    matrices, fits = aligned(turned[None], known(1), SHAPE, CANVAS, LIMITS, draws())
    assert fits.tolist() == [True]
    expected = SHAPE + 49.5  # the middle of 100 pixels
    torch.testing.assert_close(moved_by(matrices, turned[None])[0], expected, atol=1e-4, rtol=0)


def test_scale_and_rotation_stay_within_their_limits_and_are_used() -> None:
    limits = LIMITS._replace(scale=(-0.25, 0.3), rotation_degrees=20.0)
    matrices, fits = aligned(SHAPE.expand(300, 5, 2), known(300), SHAPE, CANVAS, limits, draws())
    assert fits.all()
    scale = torch.linalg.det(matrices[:, :2, :2]).sqrt()
    angle = torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert 0.75 <= scale.min() < 0.77 and 1.25 < scale.max() <= 1.3
    assert -20 <= angle.min() < -19 and 19 < angle.max() <= 20
    lowest = moved_by(matrices, SHAPE.expand(300, 5, 2)).amin(dim=1)
    highest = moved_by(matrices, SHAPE.expand(300, 5, 2)).amax(dim=1)
    torch.testing.assert_close((lowest + highest) / 2, torch.full((300, 2), 49.5))
    assert (highest - lowest).max() <= CANVAS - 1.5 - 10


@pytest.mark.parametrize(
    ("recentre", "middle", "reach"), [("shifted", 49.5, 8.0), ("published", 49.25, 0.3)]
)
def test_the_shift_has_its_own_limit_unless_published(
    recentre: str, middle: float, reach: float
) -> None:
    limits = LIMITS._replace(scale=(-0.3, 0.3), shift_px=8.0, recentre=recentre)
    points = (SHAPE / 2).expand(400, 5, 2)
    matrices, _ = aligned(points, known(400), SHAPE / 2, CANVAS, limits, draws())
    moved = moved_by(matrices, points)
    off = (moved.amin(dim=1) + moved.amax(dim=1)) / 2 - middle
    assert 0.95 * reach < off.max() < 1.001 * reach
    assert 0.95 * reach < -off.min() < 1.001 * reach


def test_a_shift_ends_at_the_border() -> None:
    # The box is 60 high and 100 - 1.5 - 2 x 5 are free: 14.25 px of room up and down.
    limits = LIMITS._replace(shift_px=1000.0)
    points = SHAPE.expand(50, 5, 2)
    moved = moved_by(aligned(points, known(50), SHAPE, CANVAS, limits, draws())[0], points)
    assert (moved[..., 1].amin(dim=1) - 5.25).min() > -1e-4
    assert moved[..., 1].amax() < 93.75 + 1e-4
    assert moved[..., 1].amin() == pytest.approx(5.25, abs=1e-3)


def test_too_large_shapes_are_drawn_again_then_left_as_they_are_then_not_moved() -> None:
    points = SHAPE.expand(64, 5, 2) * 0.7 + 50
    # 88.5 px are free for 60: up to 1.475 fits, and one of 20 tries between 0 and 3 does.
    wide = LIMITS._replace(scale=(-0.9, 2.0))
    matrices, fits = aligned(points, known(64), SHAPE, CANVAS, wide, draws())
    size = moved_by(matrices, points)[..., 1]
    assert fits.all() and (size.amax(dim=1) - size.amin(dim=1)).max() < 88.5
    hopeless = LIMITS._replace(scale=(1.0, 2.0))
    matrices, fits = aligned(points, known(64), SHAPE, CANVAS, hopeless, draws())
    assert fits.all()
    torch.testing.assert_close(moved_by(matrices, points)[0], SHAPE + 49.5, atol=1e-3, rtol=0)
    matrices, fits = aligned(points, known(64), SHAPE * 2, CANVAS, LIMITS, draws())
    assert not fits.any()
    assert torch.equal(matrices, torch.eye(3, dtype=torch.float64).expand(64, 3, 3))


def test_fewer_than_two_points_have_no_alignment() -> None:
    seen = known(2)
    seen[0, 1:], seen[1] = False, False
    matrices, fits = aligned(SHAPE.expand(2, 5, 2), seen, SHAPE, CANVAS, LIMITS, draws())
    assert not fits.any()
    assert torch.equal(matrices[0], torch.eye(3, dtype=torch.float64))


def test_consensus_agrees_with_opencv_and_leaves_outliers_out() -> None:
    random = np.random.default_rng(2)
    for _ in range(25):
        shape = random.uniform(100, 400, (10, 2)).astype(np.float32)
        angle, scale = random.uniform(-1, 1), random.uniform(0.5, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = (shape @ turn.T / scale + random.normal(0, 0.3, (10, 2))).astype(np.float32)
        points[:4] += random.choice([-1, 1], (4, 2)) * random.uniform(40, 90, (4, 2))
        matrix, inliers = cv2.estimateAffinePartial2D(points, shape)
        assert inliers.ravel().tolist() == [0] * 4 + [1] * 6
        found, fits = similarity_by_consensus(
            torch.from_numpy(points)[None], known(1, 10), torch.from_numpy(shape), 3.0
        )
        assert fits.item()
        assert found.real.item() == pytest.approx(matrix[0, 0], abs=1e-4)
        assert found.imag.item() == pytest.approx(matrix[1, 0], abs=1e-4)


def test_points_that_are_not_known_have_no_vote() -> None:
    points = torch.stack([SHAPE, SHAPE])
    points[0, 3] += torch.tensor([2.0, -1.5])
    points[1, 3] += 70.0
    seen = known(2)
    seen[:, 3] = False
    found, fits = similarity_by_consensus(points, seen, SHAPE, 3.0)
    assert fits.all()
    torch.testing.assert_close(found, torch.ones(2, dtype=torch.complex128))


def test_with_no_more_than_pairs_agreeing_the_nearest_pair_wins() -> None:
    # Points 0 and 1 nearly coincide: their pair agrees with itself under a senseless turn.
    shape = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 50.0], [3.0, 100.0]])
    points = torch.tensor([[[0.0, 0.0], [0.0, 2.0], [5.0, 50.0], [-5.0, 104.0]]])
    found, _ = similarity_by_consensus(points, known(1, 4), shape, 1.0)
    assert abs(torch.angle(found).item()) < np.radians(12)


def test_a_homography_takes_its_corners_there() -> None:
    source = torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]], dtype=torch.float64)
    target = torch.tensor(
        [
            [[1.0, 1.0], [9.0, 1.0], [9.0, 9.0], [1.0, 9.0]],
            [[0.0, 0.0], [4.0, 1.0], [3.0, 5.0], [-1.0, 3.0]],
            [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [0.0, 4.0]],
        ],
        dtype=torch.float64,
    )
    matrices, good = homography_of(source, target)
    assert good[:2].all()
    twice = torch.tensor([[2.0, 0, 1], [0, 2, 1], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(matrices[0], twice)
    moved, depth = apply_homography(matrices[:2], source.expand(2, 4, 2))
    torch.testing.assert_close(moved, target[:2])
    assert (depth > 0).all()


def test_homographies_keep_points_inside_or_do_nothing() -> None:
    points = (SHAPE + 50).expand(200, 5, 2)
    matrices, fits = perspective(points, known(200), CANVAS, LIMITS, draws())
    assert fits.all()
    moved = moved_by(matrices, points)
    assert moved.min() > 5 and moved.max() < 94
    # Not affine: the last row is not (0, 0, 1).
    assert (matrices[:, 2, :2].abs() > 1e-5).any(dim=1).float().mean() > 0.9
    edge = torch.tensor([[0.0, 50.0], [99.0, 50.0], [50.0, 0.0], [50.0, 99.0], [50.0, 50.0]])
    nowhere = LIMITS._replace(corner_border_px=40.0)
    matrices, fits = perspective(edge.expand(3, 5, 2), known(3), CANVAS, nowhere, draws())
    assert not fits.any()
    assert torch.equal(matrices, torch.eye(3, dtype=torch.float64).expand(3, 3, 3))


def test_behind_the_horizon_lies_nothing() -> None:
    matrix = torch.eye(3, dtype=torch.float64)[None].clone()
    matrix[0, 2, 0] = 0.015
    for sign in (1.0, -1.0):
        grid = sampling_grids(sign * torch.linalg.inv(matrix), CANVAS, CANVAS, torch.device("cpu"))
        # Image column 40: 1 + 0.6 times nearer, so canvas column 25.
        assert grid[0, 10, 40, 0] == pytest.approx((25 + 0.5) / 50 - 1, abs=1e-5)
    # From column 66.7 on, (x - 60) / (1 - 0.015 x) comes back from the other side.
    matrix[0, 2, 0], matrix[0, 0, 2] = -0.015, -60.0
    grid = sampling_grids(torch.linalg.inv(matrix), CANVAS, CANVAS, torch.device("cpu"))
    assert torch.isfinite(grid).all()
    assert (grid[0, :, 67:] > 1).all()
    # Column 64: 4 / 0.04 is canvas column 100, just outside.
    assert grid[0, 0, 64, 0] == pytest.approx((100 + 0.5) / 50 - 1, abs=1e-4)


def test_mask_pixels_count_from_centres_unless_published() -> None:
    corners = torch.tensor([[-0.5, 511.5, 7.0], [0.0, 0.0, 2.0]])
    # The canvas's edges are the mask's: 512 px, 320 px and 80 px show the same square.
    torch.testing.assert_close(to_mask(corners, 512, 320)[0], torch.tensor([-0.5, 79.5, 7.0]))
    assert to_mask(corners, 512, 320)[1, 0] == pytest.approx(0.5 * 80 / 512 - 0.5)
    published = to_mask(corners, 512, 320, "published")[1]
    assert published.tolist() == [0.0, 0.0, 2.0]
    for offset in ("exact", "published"):
        back = from_mask(to_mask(corners, 512, 320, offset), 512, 320, offset)
        torch.testing.assert_close(back, corners)
