"""Bootstrap by study of any mean over cells or points, and of the difference of two such means.

For figures other than the score, whose own bootstrap is ``metrics.bootstrap``: a share of points,
a mean error, the loss of one condition. Each is a ratio of two sums over studies.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinegrade.errors import SpinegradeError
from spinegrade.metrics.bootstrap import Interval
from spinegrade.runtime.seeds import generator


class StudyMeans(NamedTuple):
    """By study the summed values and their summed weights, float64 (studies,) each."""

    total: NDArray[np.float64]
    weight: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """The mean over all studies."""
        return float(self.total.sum() / self.weight.sum())


@dataclass(frozen=True)
class Difference:
    """Two means over the same studies and their difference, first - second, with its interval."""

    first: float
    second: float
    difference: Interval
    studies: int

    def as_dict(self) -> dict[str, object]:
        """All numbers by name, the interval as a dictionary."""
        return asdict(self)


def study_means(
    study: ArrayLike, values: ArrayLike, studies: list[str], weights: ArrayLike | None = None
) -> StudyMeans:
    """Sums by study of ``values`` (n,) with ``weights`` (n,), one each by default.

    ``study`` (n,) names; ``studies`` says which count, in which order. Values that are NaN do
    not count. Raises SpinegradeError where nothing is left.
    """
    place = dict(zip(studies, range(len(studies)), strict=True))
    codes = np.array([place.get(name, -1) for name in np.asarray(study)], np.int64)
    values = np.asarray(values, np.float64)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    kept = (codes >= 0) & np.isfinite(values)
    count = len(studies)
    total = np.bincount(codes[kept], (values * weights)[kept], minlength=count)
    weight = np.bincount(codes[kept], weights[kept], minlength=count)
    if not weight.sum() > 0:
        raise SpinegradeError(
            f"bootstrap: no value to take a mean of in {count} studies; give more studies",
            code="BOOTSTRAP_TOO_FEW",
        )
    return StudyMeans(total, weight)


def _draws(parts: list[StudyMeans], resamples: int, seed: int) -> list[NDArray[np.float64]]:
    """Means of the same resamples for all; a resample without any value in one is left out."""
    studies = len(parts[0].total)
    share = np.full(studies, 1.0 / studies)
    counts = generator(seed, "bootstrap", studies).multinomial(studies, share, size=resamples)
    counts = counts.astype(np.float64)
    weights = [counts @ part.weight for part in parts]
    whole = np.all([weight > 0 for weight in weights], axis=0)
    if whole.mean() < 0.5:
        raise SpinegradeError(
            f"bootstrap: most resamples of {studies} studies hold no value; use more studies",
            code="BOOTSTRAP_TOO_FEW",
        )
    return [
        (counts @ part.total)[whole] / weight[whole]
        for part, weight in zip(parts, weights, strict=True)
    ]


def _interval(value: float, draws: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(value, float(low), float(high))


def mean_interval(part: StudyMeans, resamples: int = 1000, seed: int = 0) -> Interval:
    """The mean with its 95 % percentile interval, resampling studies."""
    return _interval(part.mean, _draws([part], resamples, seed)[0])


def compare_means(
    first: StudyMeans, second: StudyMeans, resamples: int = 1000, seed: int = 0
) -> Difference:
    """Paired comparison of two means over the same studies, in the same order."""
    if len(first.total) != len(second.total):
        raise SpinegradeError(
            f"cannot pair {len(first.total)} studies with {len(second.total)}; give both the same",
            code="BOOTSTRAP_UNPAIRED",
        )
    draws = _draws([first, second], resamples, seed)
    difference = _interval(first.mean - second.mean, draws[0] - draws[1])
    return Difference(first.mean, second.mean, difference, len(first.total))
