"""Latent correlations behind grades: closed forms that the integrals must meet."""

from __future__ import annotations

import numpy as np
import pytest
from spinegrade.phantom.latent import (
    bivariate_normal_cdf,
    implied_rank_correlation,
    latent_correlation,
    nearest_covariance,
)


@pytest.mark.parametrize("correlation", [-0.9, -0.3, 0.0, 0.5, 0.95])
def test_quadrant_probability(correlation):
    # Sheppard's formula: P(X < 0, Y < 0) = 1/4 + arcsin(r) / (2 pi).
    expected = 0.25 + np.arcsin(correlation) / (2 * np.pi)
    assert bivariate_normal_cdf(0.0, 0.0, correlation) == pytest.approx(expected, abs=1e-9)


def test_independent_and_one_sided_probabilities():
    assert bivariate_normal_cdf(0.0, np.inf, 0.7) == pytest.approx(0.5, abs=1e-9)
    assert bivariate_normal_cdf(1.0, -1.0, 0.0) == pytest.approx(0.8413447 * 0.1586553, abs=1e-6)


def test_median_splits_have_the_known_rank_correlation():
    # Two halves: the grades' correlation is 4 (1/4 + arcsin(r)/(2 pi)) - 1 = 2 arcsin(r) / pi.
    halves = np.array([[0.5, 0.25, 0.25]])
    two = np.array([[0.5, 0.5]])
    implied = implied_rank_correlation(two, two, np.array([0.6]))
    assert implied[0] == pytest.approx(2 * np.arcsin(0.6) / np.pi, abs=1e-9)
    back = latent_correlation(
        halves, halves, implied_rank_correlation(halves, halves, np.array([0.37]))
    )
    assert back[0] == pytest.approx(0.37, abs=1e-6)


def test_a_definite_matrix_is_kept_and_an_impossible_one_mended():
    good = np.array([[2.0, 0.5], [0.5, 1.0]])
    np.testing.assert_allclose(nearest_covariance(good, np.array([2.0, 1.0])), good, atol=1e-9)
    bad = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    mended = nearest_covariance(bad, np.ones(3))
    np.testing.assert_allclose(np.diag(mended), 1, atol=1e-9)
    assert np.linalg.eigvalsh(mended)[0] > 0
    # By symmetry the nearest has correlations 1/2, 1/2, -1/2: the edge of what can be.
    np.testing.assert_allclose(
        [mended[0, 1], mended[1, 2], mended[0, 2]], [0.5, 0.5, -0.5], atol=1e-2
    )
