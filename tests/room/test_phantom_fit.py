"""The fits behind the lumbar statistics, on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm
from spinegrade.phantom import fit

LINE = np.stack([np.zeros(5), np.linspace(-100, 100, 5)], axis=1)


def test_severity_from_two_margins_by_hand():
    # Shares 1/2, P(0 < z < 1), P(z > 1): the lower threshold lies at the mean, the upper one
    # a standard deviation above; thresholds at the logistic of 0 and of 2.
    shares = np.array([[0.5, norm.cdf(1) - 0.5, norm.sf(1)]])
    mean, spread = fit.latent_severity(shares, (0.5, expit(2.0)))
    assert mean[0] == pytest.approx(0)
    assert spread[0] == pytest.approx(2)


def test_noise_leaves_the_total_spread_and_the_readings_correlation():
    shares = np.tile([0.6, 0.25, 0.15], (2, 1))
    readings = np.array([[1.0, 0.4], [0.4, 1.0]])
    _, total = fit.latent_severity(shares, (0.45, 0.7))
    model = fit.disease_for_noise(shares, readings, (0.45, 0.7), noise=0.5)
    np.testing.assert_allclose(model.spread**2 + 0.25, total**2)
    covariance = model.correlation[0, 1] * model.spread[0] * model.spread[1]
    assert covariance / total[0] ** 2 == pytest.approx(0.4, abs=1e-6)
    with pytest.raises(ValueError, match="noise"):
        fit.disease_for_noise(shares, readings, (0.45, 0.7), noise=10)


def test_one_mode_is_found_with_its_standard_deviation():
    direction = np.zeros((5, 2))
    direction[2] = [1.0, 0.0]
    weights = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])  # variance 10 / 4 = 2.5
    modes, variances = fit.principal_modes(
        LINE + weights[:, None, None] * direction, LINE, explained=0.9
    )
    assert modes.shape == (1, 5, 2)
    np.testing.assert_allclose(modes[0], np.sqrt(2.5) * direction, atol=1e-9)
    assert variances[0] == pytest.approx(2.5)


def test_a_set_one_level_off_is_screened_out():
    rng = np.random.default_rng(0)
    sets = LINE + rng.normal(0, 1, (60, 5, 2))
    sets[7, :2] += [0, 40]
    found = fit.screened_procrustes(sets)
    assert not found.kept[7]
    assert found.kept.sum() >= 58
    assert len(found.aligned) == found.kept.sum()


def test_frames_that_differ_are_told_apart():
    rng = np.random.default_rng(1)
    canal = LINE + np.array([10, 0]) + rng.normal(0, 1, (50, 5, 2))
    foraminal = np.concatenate([LINE, LINE]) + rng.normal(0, 1, (50, 10, 2))
    canal[3] *= 1.4  # another field of view
    canal[4] += [0, 60]  # another position
    shared = fit.share_of_frame(canal, foraminal)
    assert not shared[3]
    assert not shared[4]
    assert shared.sum() >= 46


def test_turn_is_the_spread_of_the_angles():
    angles = np.radians([-6.0, 0.0, 6.0])
    rotations = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in angles]
    sets = np.stack([LINE @ rotation.T for rotation in rotations])
    assert fit.turn_deg(sets, LINE) == pytest.approx(6 * np.sqrt(2 / 3))
