"""Bootstrap by study: intervals of a score and of a paired comparison of two predictions.

A score is a few ratios of sums over studies, so a resample of studies is one row of counts
times the per-study sums: nothing is scored again, and a thousand resamples cost
milliseconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from spinegrade.errors import SpinegradeError
from spinegrade.metrics.cells import LabelledCells
from spinegrade.metrics.score import StudySums, cell_sums
from spinegrade.runtime.seeds import generator

_BLOCK = 256  # resamples drawn at a time: 256 x 2,000 studies of counts are 4 MB
_MOST_REDRAWS = 100


@dataclass(frozen=True)
class Interval:
    """A value with the 95 % percentile interval of its bootstrap."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """The three numbers by name."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """Two predictions of the same cells on the same resamples: ratio and difference.

    ``ratio`` is first / second and ``difference`` first - second, of the total score: below
    one and below zero the first is better. ``resamples`` is the number drawn.
    """

    first: float
    second: float
    ratio: Interval
    difference: Interval
    resamples: int

    def as_dict(self) -> dict[str, object]:
        """All numbers by name, intervals as dictionaries."""
        return asdict(self)


def _resampled(sums: list[StudySums], resamples: int, seed: int) -> list[np.ndarray]:
    """Parts of the score, (resamples, parts), of each sums; the same resamples for all.

    A resample in which a part has no labelled cell has no score; it is drawn again.
    """
    studies = len(sums[0].weight)
    random = generator(seed, "bootstrap", studies)
    share = np.full(studies, 1.0 / studies)
    drawn: list[list[np.ndarray]] = [[] for _ in sums]
    have = 0
    for _ in range(resamples // _BLOCK + 1 + _MOST_REDRAWS):
        counts = random.multinomial(studies, share, size=min(_BLOCK, resamples - have))
        counts = counts.astype(np.float64)
        weights = [counts @ part.weight for part in sums]
        whole = np.all([(weight > 0.0).all(axis=1) for weight in weights], axis=0)
        for kept, part, weight in zip(drawn, sums, weights, strict=True):
            kept.append((counts @ part.loss)[whole] / weight[whole])
        have += int(whole.sum())
        if have >= resamples:
            return [np.concatenate(kept) for kept in drawn]
    raise SpinegradeError(
        f"bootstrap: {studies} studies have too few labels for {resamples} resamples in which "
        f"every part of the score ({', '.join(sums[0].parts)}) has a labelled cell; "
        "use more studies",
        code="BOOTSTRAP_TOO_FEW",
    )


def _interval(value: float, draws: np.ndarray) -> Interval:
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(value, float(low), float(high))


def bootstrap_sums(sums: StudySums, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """``total`` and each part with its 95 % interval, resampling studies.

    Seeded on the named stream "bootstrap"; studies without any labelled cell are not among
    the sums. Raises SpinegradeError where a part of the score has no labels.
    """
    whole = sums.score().as_dict()
    (parts,) = _resampled([sums], resamples, seed)
    intervals = {"total": _interval(whole["total"], parts.mean(axis=1))}
    for column, part in enumerate(sums.parts):
        intervals[part] = _interval(whole[part], parts[:, column])
    return intervals


def bootstrap_score(
    cells: LabelledCells, probabilities: np.ndarray, resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """``bootstrap_sums`` of matched cells and their probabilities (n, 3)."""
    return bootstrap_sums(cell_sums(cells, probabilities), resamples, seed)


def compare_sums(
    first: StudySums, second: StudySums, resamples: int = 1000, seed: int = 0
) -> Comparison:
    """Paired comparison of two predictions from their sums over the same studies."""
    totals = [sums.score().total for sums in (first, second)]
    if not totals[1] > 0.0:
        raise SpinegradeError(
            "the second prediction's score is zero: no ratio to it exists", code="SCORE_ZERO"
        )
    draws = [parts.mean(axis=1) for parts in _resampled([first, second], resamples, seed)]
    return Comparison(
        totals[0],
        totals[1],
        _interval(totals[0] / totals[1], draws[0] / draws[1]),
        _interval(totals[0] - totals[1], draws[0] - draws[1]),
        resamples,
    )


def compare(
    cells: LabelledCells,
    first: np.ndarray,
    second: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Paired bootstrap by study of two predictions (n, 3) of the same matched cells."""
    return compare_sums(cell_sums(cells, first), cell_sums(cells, second), resamples, seed)
