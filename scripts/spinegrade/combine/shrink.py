"""How far to go from the plain mean to what was fitted: as far as the training folds bear out.

A fit on few studies finds luck in their labels. So its weights are taken as a step away from the
plain mean of the members (no prior), its calibration as a step away from none, and only a part of
each step, its strength (0 plain, 1 as fitted), is made. The parts that a fit may see say which:
fits without one of them are tried at every strength on the one left out.
"""

from __future__ import annotations

import numpy as np

from spinegrade.combine.blend import calibrate, from_space, mix_space
from spinegrade.combine.objective import Problem

STRENGTHS = np.linspace(0.0, 1.0, 21)
_PARTS_OF_A_FOLD = 5
_DAMPING = 1.5
_DECIMALS = 12  # the last bits of a sum decide nothing: of equals the plainer is taken


def inner_parts(fold: np.ndarray, study: np.ndarray) -> list[np.ndarray]:
    """Masks (n,) bool of the cells to leave out in turn: those of each fold.

    ``fold`` and ``study`` (n,): codes of the cells that a fit may see. The studies of a single
    fold are dealt by turns into five parts. One study cannot be parted: the list is then empty.
    """
    key = fold
    if len(np.unique(fold)) < 2:
        _, turn = np.unique(study, return_inverse=True)
        key = turn % _PARTS_OF_A_FOLD
    keys = np.unique(key)
    return [key == one for one in keys] if len(keys) > 1 else []


def shrunk(
    fitted: np.ndarray, allowed: np.ndarray, in_mean: np.ndarray, strength: float
) -> np.ndarray:
    """Weights (members,) at ``strength`` of the way from the plain mean to ``fitted``.

    The plain mean is of the members ``in_mean`` (members,) bool that are ``allowed``, or of all
    that are allowed where none of those is. Strength 1 gives ``fitted`` to the bit.
    """
    members = allowed & in_mean
    members = members if members.any() else allowed
    return (1.0 - strength) * (members / members.sum()) + strength * fitted


def along_weights(problem: Problem, plain: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Mixes (strengths, n, 3) on the way from the weights ``plain`` to ``fitted`` (members,)."""
    start, end = (mix_space(problem.space, weights, problem.cells) for weights in (plain, fitted))
    return np.stack([from_space((1.0 - s) * start + s * end, problem.blend) for s in STRENGTHS])


def along_calibration(mixed: np.ndarray, temperature: float, severe_factor: float) -> np.ndarray:
    """Mixes (strengths, n, 3) on the way from ``mixed`` (n, 3) to its calibration."""
    return np.stack([calibrate(mixed, temperature**s, severe_factor**s) for s in STRENGTHS])


def standard_error(gains: np.ndarray) -> np.ndarray:
    """Of the sum over the last axis, (..., studies), from the spread of the studies' parts."""
    return np.sqrt(gains.shape[-1]) * gains.std(axis=-1, ddof=1)


def is_clear(gains: np.ndarray) -> bool:
    """Whether studies' gains (studies,) sum to more than the sum's standard error.

    A mere lead on few studies is noise.
    """
    return bool(gains.sum() > standard_error(gains)) if len(gains) > 1 else False


def common_strength(parts: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The strength of the weights, one for all conditions: the best one, cautiously.

    ``parts``: by condition the studies' codes (studies,) and their losses (strengths, studies),
    each on cells that its fit had not seen. Taken is the strength with the least loss when the
    standard error of its difference to the plain mean's is added, paired by study: a step pays for
    the doubt that comes with it. Conditions are taken together since each alone has few severe
    studies, which decide most of its loss. 0 without two studies.
    """
    studies = np.unique(np.concatenate([codes for codes, _ in parts]))
    if len(studies) < 2:
        return 0.0
    losses = np.zeros((len(STRENGTHS), len(studies)))
    for codes, added in parts:
        losses[:, np.searchsorted(studies, codes)] += added
    losses -= losses[0]
    doubted = losses.sum(axis=1) + standard_error(losses)
    return float(STRENGTHS[np.argmin(np.round(doubted, _DECIMALS))])


def calibration_strengths(parts: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """The strength of each condition's calibration; ``parts`` as for ``common_strength``.

    0 unless the condition's whole step is a clear gain; else its best strength, times the same
    factor for all: 1 - 1.5 (e / g)² and not below 0, where g is the gain of those steps together
    and e the gain's standard error. That is the positive-part rule of James and Stein (Efron and
    Morris, Journal of the American Statistical Association 1973), between its forms for a step
    of one free number, 1, and of two, 2.
    """
    studies = np.unique(np.concatenate([codes for codes, _ in parts]))
    together, best = np.zeros(len(studies)), []
    for codes, losses in parts:
        gains = losses[0] - losses
        sums = np.round(gains.sum(axis=1), _DECIMALS)
        best.append(int(np.argmax(sums)) if is_clear(gains[-1]) else 0)
        together[np.searchsorted(studies, codes)] += gains[best[-1]]
    if not any(best):
        return [0.0] * len(parts)
    doubt = standard_error(together) / together.sum()
    damped = max(0.0, 1.0 - _DAMPING * float(doubt) ** 2)
    return [float(STRENGTHS[place]) * damped for place in best]
