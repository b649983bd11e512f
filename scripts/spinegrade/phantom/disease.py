"""Narrowing of the 25 graded places: a latent Gaussian with real margins and correlations."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from spinegrade.phantom.statistics import Floats, LumbarStatistics


def draw_narrowing(
    rng: np.random.Generator, statistics: LumbarStatistics, count: int | None = None
) -> Floats:
    """Narrowing in (0, 1) of one study, (25,), or of ``count`` studies, (count, 25).

    In the order of ``LUMBAR_CELLS``. 0 is wide open, 1 closed; the scale means the same
    in every cell (the rater's thresholds are common), cells differ in how often they get far.
    """
    model = statistics.disease
    root = np.linalg.cholesky(model.correlation)
    normal = rng.standard_normal((count or 1, len(model.mean))) @ root.T
    narrowing = expit(model.mean + model.spread * normal)
    return narrowing[0] if count is None else narrowing
