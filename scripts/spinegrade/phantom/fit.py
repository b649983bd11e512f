"""Fits of the lumbar statistics: a shape model from points, a disease and rater model from grades.

Used by ``scripts/tools/fit_lumbar_statistics.py``; cohorts only read its result.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logit, ndtri

from spinegrade.geometry.procrustes import centroid_size, generalised_procrustes, similarity_to
from spinegrade.phantom.disease import draw_narrowing
from spinegrade.phantom.floor import expected_floor
from spinegrade.phantom.latent import latent_correlation, nearest_covariance
from spinegrade.phantom.rater import grade_probabilities
from spinegrade.phantom.statistics import DiseaseModel, Floats, LumbarStatistics

OUTLIER_MADS = 6.0
"""Sets further from the mean than the median plus so many median deviations are left out."""


class AlignedSets(NamedTuple):
    """Mean (k, 2) and aligned sets (n, k, 2) after outliers, and which inputs stayed."""

    mean: Floats
    aligned: Floats
    kept: np.ndarray


def screened_procrustes(points: Floats) -> AlignedSets:
    """Generalised Procrustes of (n, k, 2) with sets of another shape left out, once."""
    mean, aligned = generalised_procrustes(points)
    distance = np.sqrt(((aligned - mean) ** 2).sum(axis=(1, 2)))
    middle = np.median(distance)
    kept = distance <= middle + OUTLIER_MADS * np.median(np.abs(distance - middle))
    mean, aligned = generalised_procrustes(points[kept])
    return AlignedSets(mean, aligned, kept)


def principal_modes(aligned: Floats, mean: Floats, explained: float) -> tuple[Floats, Floats]:
    """Modes (m, k, 2), each of one standard deviation, and all variances, largest first."""
    residual = (aligned - mean).reshape(len(aligned), -1)
    _, singular, directions = np.linalg.svd(residual - residual.mean(axis=0), full_matrices=False)
    variances = singular**2 / (len(aligned) - 1)
    count = int(np.searchsorted(np.cumsum(variances) / variances.sum(), explained)) + 1
    modes = np.sqrt(variances[:count, None]) * directions[:count]
    # A mode's sign is arbitrary: its largest entry is positive.
    largest = np.abs(modes).argmax(axis=1)
    modes *= np.sign(modes[np.arange(count), largest])[:, None]
    return modes.reshape(count, *mean.shape), variances


def turn_deg(points: Floats, mean: Floats) -> float:
    """Standard deviation of the turn of the sets (n, k, 2) against their mean, in degrees."""
    return float(np.std([similarity_to(mean, one).angle_deg for one in points]))


def share_of_frame(canal: Floats, foraminal: Floats) -> np.ndarray:
    """Which studies show canal and foramina in one frame: same scale, canal where it must be.

    (n, 5, 2) and (n, 10, 2) px of two series of equal matrix. Their fields of view may still
    differ, so the ratio of sizes and the offset between the centroids, in units of size and
    turned upright, must lie within ``OUTLIER_MADS`` of the medians. Returns (n,) bool.
    """
    size = centroid_size(foraminal)
    axis = foraminal[:, [4, 9]].mean(axis=1) - foraminal[:, [0, 5]].mean(axis=1)
    upright = np.conj(axis[:, 0] + 1j * axis[:, 1]) / np.linalg.norm(axis, axis=1)
    offset = canal.mean(axis=1) - foraminal.mean(axis=1)
    along = (offset[:, 0] + 1j * offset[:, 1]) * upright / size
    values = np.stack([centroid_size(canal) / size, along.real, along.imag], axis=1)
    middle = np.median(values, axis=0)
    spread = np.median(np.abs(values - middle), axis=0)
    return (np.abs(values - middle) <= OUTLIER_MADS * spread).all(axis=1)


def latent_severity(prevalence: Floats, thresholds: tuple[float, float]) -> tuple[Floats, Floats]:
    """Mean and total spread (25,) of a reading whose cuts at the common thresholds give (25, 3).

    In logits of narrowing. Two cuts and two free shares: the solution is unique.
    """
    low, high = logit(np.asarray(thresholds))
    first, second = ndtri(prevalence[:, 0]), ndtri(prevalence[:, 0] + prevalence[:, 1])
    spread = (high - low) / (second - first)
    return low - spread * first, spread


def polychoric_matrix(prevalence: Floats, rank_correlation: Floats) -> Floats:
    """Latent correlations (25, 25), pair by pair, that imply the rank correlations."""
    first, second = np.triu_indices(len(prevalence), 1)
    latent = latent_correlation(
        prevalence[first], prevalence[second], rank_correlation[first, second]
    )
    matrix = np.eye(len(prevalence))
    matrix[first, second] = matrix[second, first] = latent
    return matrix


def disease_for_noise(
    prevalence: Floats, readings: Floats, thresholds: tuple[float, float], noise: float
) -> DiseaseModel:
    """Severity model whose readings, with this noise, have the margins and correlations asked.

    ``readings`` (25, 25): correlation of the readings. Noise is independent by cell, so the
    narrowing's covariance is that of the readings less the noise on the diagonal; where that
    is not definite, the nearest definite matrix with that diagonal is taken.
    """
    mean, total = latent_severity(prevalence, thresholds)
    reliability = 1 - (noise / total) ** 2
    if (reliability <= 0).any():
        raise ValueError(f"rater noise {noise} exceeds the spread of a cell's readings")
    # A rank correlation of nearly constant grades says little of the latent one and hangs
    # little on it: near means near in rank correlation, each cell weighted by its untied share.
    weight = np.sqrt(1 - (prevalence**3).sum(axis=1))
    scale = np.outer(weight, weight)
    covariance = nearest_covariance(readings * scale, reliability * weight**2) / scale
    root = np.sqrt(reliability)
    correlation = covariance / np.outer(root, root)
    np.fill_diagonal(correlation, 1.0)
    return DiseaseModel(mean, total * root, correlation)


def floor_for_noise(statistics: LumbarStatistics, studies: int, seed: int) -> float:
    """Expected floor of a large draw from these statistics."""
    narrowing = draw_narrowing(np.random.default_rng(seed), statistics, studies)
    return expected_floor(grade_probabilities(narrowing, statistics)).total
