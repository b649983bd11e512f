"""Similarity alignment, with answers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import refused
from spinegrade.geometry.procrustes import centroid_size, generalised_procrustes, similarity_to

SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
TRIANGLE = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points @ np.array([[cosine, -sine], [sine, cosine]]).T


def test_a_known_similarity_is_recovered():
    # A quarter turn takes (x, y) to (-y, x); then twice as large, then moved by (5, -1).
    target = np.array([[5.0, -1.0], [5.0, 7.0], [-1.0, -1.0]])
    found = similarity_to(TRIANGLE, target)
    assert found.scale == pytest.approx(2)
    np.testing.assert_allclose(found.rotation, [[0, -1], [1, 0]], atol=1e-12)
    np.testing.assert_allclose(found.shift, [5, -1], atol=1e-12)
    assert found.angle_deg == pytest.approx(90)
    np.testing.assert_allclose(found.apply(TRIANGLE), target, atol=1e-12)
    np.testing.assert_allclose(found.inverse().apply(target), TRIANGLE, atol=1e-12)


def test_least_squares_scale_by_hand():
    # Centred sets u = (-1, 0, 1) and v = (-1, 0, 3) less its mean 2/3, on one line:
    # scale = sum(u v) / sum(u u) = (5/3 + 7/3) / 2 = 2.
    line = np.array([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    target = np.array([[-1.0, 0.0], [0.0, 0.0], [3.0, 0.0]])
    found = similarity_to(line, target)
    assert found.scale == pytest.approx(2)
    np.testing.assert_allclose(found.shift, [2 / 3, 0], atol=1e-12)


def test_a_mirror_image_is_not_reflected_into_place():
    mirrored = TRIANGLE * [-1.0, 1.0]
    found = similarity_to(mirrored, TRIANGLE)
    assert np.linalg.det(found.rotation) == pytest.approx(1)
    assert np.abs(found.apply(mirrored) - TRIANGLE).max() > 0.5


def test_squares_of_sides_two_and_six_have_a_mean_of_side_four():
    sets = np.stack([SQUARE + 100, 3 * SQUARE - [7, 40]])
    mean, aligned = generalised_procrustes(sets)
    np.testing.assert_allclose(mean, 2 * SQUARE, atol=1e-9)
    np.testing.assert_allclose(aligned, np.stack([2 * SQUARE] * 2), atol=1e-9)


def test_the_mean_takes_the_mean_turn_and_is_centred():
    sets = np.stack([turned(TRIANGLE, -10), turned(TRIANGLE, 30)])
    mean, _ = generalised_procrustes(sets)
    expected = turned(TRIANGLE - TRIANGLE.mean(axis=0), 10)
    np.testing.assert_allclose(mean, expected, atol=1e-9)


def test_two_deviations_that_cancel_leave_the_shape():
    # Opposite displacements of one corner average out to first order.
    bump = np.zeros((4, 2))
    bump[2] = [0.01, 0.0]
    mean, _ = generalised_procrustes(np.stack([SQUARE + bump, SQUARE - bump]))
    np.testing.assert_allclose(mean, SQUARE, atol=1e-4)


def test_order_does_not_matter():
    rng = np.random.default_rng(0)
    sets = TRIANGLE + rng.normal(0, 0.3, (20, 3, 2))
    first, _ = generalised_procrustes(sets)
    second, _ = generalised_procrustes(sets[::-1])
    np.testing.assert_allclose(first, second, atol=1e-8)


def test_centroid_size_of_the_square():
    # Four corners, each at a squared distance of 2: root of 8.
    assert centroid_size(SQUARE + 3) == pytest.approx(np.sqrt(8))


@pytest.mark.parametrize(
    ("points", "code", "value"),
    [
        (np.zeros((3, 2)), "SHAPE_DIMENSIONS", "(3, 2)"),
        (np.zeros((0, 3, 2)), "SHAPE_DIMENSIONS", "(0, 3, 2)"),
        (np.zeros((2, 3, 3)), "SHAPE_DIMENSIONS", "(2, 3, 3)"),
        (np.stack([TRIANGLE, np.ones((3, 2))]), "SHAPE_POINTS", "set 1"),
        (np.stack([TRIANGLE, TRIANGLE * np.nan]), "SHAPE_POINTS", "set 1"),
    ],
)
def test_unusable_sets_are_refused(points, code, value):
    with refused(code, value):
        generalised_procrustes(points)


def test_sets_of_different_length_are_refused():
    with refused("SHAPE_DIMENSIONS", 3, 4):
        similarity_to(TRIANGLE, SQUARE)
