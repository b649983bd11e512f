"""Steps from level to level, measured on a detector's training studies for choosing its points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
# Steps are learnt from few studies and compared at the heatmap's resolution: this much of their
# covariance is taken as independent, and this standard deviation is added.
_SHRINKAGE = 0.2
_STEP_FLOOR_MM = 3.0


class Steps(NamedTuple):
    """Steps from level to level, in mm of a grid's (x, y, slice), for each chain of points.

    ``mean`` (chains, links, 3); ``covariance`` (chains, 2 links, 2 links) of the steps in the
    plane, link by link; ``slice_deviation`` (chains, links) of the steps along the slices.
    """

    mean: FloatArray
    covariance: FloatArray
    slice_deviation: FloatArray

    def to_lists(self) -> dict[str, Any]:
        """As plain lists, for a weights file's header."""
        return {name: value.tolist() for name, value in self._asdict().items()}

    @classmethod
    def from_lists(cls, value: dict[str, Any]) -> Steps:
        """Inverse of ``to_lists``."""
        return cls(*(np.array(value[name]) for name in cls._fields))


def fit_steps(
    points: FloatArray,
    known: NDArray[np.bool_],
    chains: Sequence[Sequence[int]],
    unit_mm: Sequence[float],
) -> Steps | None:
    """Mean and spread of the steps in each chain, over the studies that show all its points.

    ``points`` (n, P, 3) in grid units of ``unit_mm`` (x, y, slice), ``known`` (n, P). None where
    fewer than three studies show a whole chain: too few to tell a likely step from others.
    """
    means, covariances, deviations = [], [], []
    for chain in chains:
        whole = known[:, list(chain)].all(axis=1)
        if whole.sum() < 3:
            return None
        steps = np.diff(points[whole][:, list(chain)].astype(float) * unit_mm, axis=1)
        flat = steps[:, :, :2].reshape(len(steps), -1)
        covariance = np.cov(flat, rowvar=False)
        own = np.diag(np.diag(covariance))
        floor = np.eye(len(own)) * _STEP_FLOOR_MM**2
        means.append(steps.mean(axis=0))
        covariances.append((1 - _SHRINKAGE) * covariance + _SHRINKAGE * own + floor)
        deviations.append(np.hypot(steps[:, :, 2].std(axis=0, ddof=1), _STEP_FLOOR_MM))
    return Steps(np.array(means), np.array(covariances), np.array(deviations))


def mean_steps(steps: Sequence[Steps | None]) -> Steps | None:
    """The mean over several models' steps; None where one has none."""
    if not steps or any(one is None for one in steps):
        return None
    return Steps(*(np.mean(parts, axis=0) for parts in zip(*steps, strict=True)))
