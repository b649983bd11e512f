"""Latent Gaussians behind graded labels: what correlation a table of grades implies.

A grade is a standard normal cut at two thresholds (the polychoric model, K. Pearson 1900;
U. Olsson, Psychometrika 44, 1979). Correlations are fitted so that the rank correlation that
the model gives equals the one observed, ties included.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

Matrix = NDArray[np.float64]

# Nodes for the integral over the correlation, substituted as r = sin(angle).
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(40)


def bivariate_normal_cdf(first: ArrayLike, second: ArrayLike, correlation: ArrayLike) -> Matrix:
    """P(X <= first, Y <= second) of standard normals with this correlation, broadcast.

    Integrates the density over the correlation from zero (Drezner and Wesolowsky, 1990);
    accurate to 1e-8 for correlations within 0.97 of zero. Thresholds may be infinite.
    """
    first, second, correlation = np.broadcast_arrays(
        np.asarray(first, float), np.asarray(second, float), np.asarray(correlation, float)
    )
    x = np.clip(first, -38.0, 38.0)[..., None]
    y = np.clip(second, -38.0, 38.0)[..., None]
    top = np.arcsin(correlation)[..., None]
    angle = top * (_NODES + 1) / 2
    sine, cosine_squared = np.sin(angle), np.cos(angle) ** 2
    density = np.exp(-(x**2 - 2 * sine * x * y + y**2) / (2 * cosine_squared))
    integral = (density * _WEIGHTS).sum(axis=-1) * top[..., 0] / 2
    return ndtr(first) * ndtr(second) + integral / (2 * np.pi)


def _midrank_scores(shares: Matrix) -> Matrix:
    """(m, grades) shares to the ranks' scores: mean 0, variance 1 under those shares."""
    upper = np.cumsum(shares, axis=1)
    ranks = upper - shares / 2
    centred = ranks - (ranks * shares).sum(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2 * shares).sum(axis=1, keepdims=True))


def implied_rank_correlation(
    first_shares: Matrix, second_shares: Matrix, correlation: Matrix
) -> Matrix:
    """Spearman correlation (midranks) of two cut normals: (m, 3), (m, 3), (m,) -> (m,).

    The sum over cells of score times score times probability, by summation by parts.
    """
    scores = [_midrank_scores(shares) for shares in (first_shares, second_shares)]
    cuts = [
        ndtri(np.clip(np.cumsum(shares, axis=1)[:, :-1], 1e-12, 1 - 1e-12))
        for shares in (first_shares, second_shares)
    ]
    steps = [np.diff(score, axis=1) for score in scores]
    joint = bivariate_normal_cdf(
        cuts[0][:, :, None], cuts[1][:, None, :], correlation[:, None, None]
    )
    independent = ndtr(cuts[0])[:, :, None] * ndtr(cuts[1])[:, None, :]
    return np.einsum("mi,mj,mij->m", steps[0], steps[1], joint - independent)


def latent_correlation(
    first_shares: Matrix, second_shares: Matrix, rank_correlation: Matrix, rounds: int = 45
) -> Matrix:
    """Correlation of the normals that gives this Spearman correlation of the grades.

    (m, 3) and (m, 3) grade shares, (m,) observed correlations -> (m,), by bisection within
    +-0.97 (the implied correlation grows with the latent one).
    """
    low = np.full(len(rank_correlation), -0.97)
    high = -low
    for _ in range(rounds):
        middle = (low + high) / 2
        below = implied_rank_correlation(first_shares, second_shares, middle) < rank_correlation
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def nearest_covariance(
    matrix: Matrix, diagonal: Matrix, least_eigenvalue: float = 1e-4, rounds: int = 500
) -> Matrix:
    """Symmetric matrix nearest to ``matrix`` with this diagonal and no smaller eigenvalue.

    Alternating projections with Dykstra's correction (N. J. Higham, IMA Journal of Numerical
    Analysis 22, 2002), here for any positive diagonal.
    """
    current = (matrix + matrix.T) / 2
    correction = np.zeros_like(current)
    for _ in range(rounds):
        shifted = current - correction
        values, vectors = np.linalg.eigh(shifted)
        projected = (vectors * np.maximum(values, least_eigenvalue)) @ vectors.T
        correction = projected - shifted
        current = projected.copy()
        np.fill_diagonal(current, diagonal)
        if np.abs(current - projected).max() < 1e-9:
            break
    # End on a matrix that is definite for certain, its diagonal restored by scaling.
    values, vectors = np.linalg.eigh(current)
    current = (vectors * np.maximum(values, least_eigenvalue)) @ vectors.T
    scale = np.sqrt(diagonal / np.diag(current))
    return current * np.outer(scale, scale)
