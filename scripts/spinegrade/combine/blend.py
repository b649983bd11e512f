"""How members become one: a weighted mean of probabilities or of logarithms, then a calibration.

``probabilities`` is the linear opinion pool, sum of w_m p_m; ``logits`` the logarithmic one,
proportional to the product of p_m ** w_m (Genest and Zidek, Combining probability distributions,
Statistical Science 1986). Weights lie on the simplex in both. Nothing here goes through BLAS,
so that the number of threads changes no bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLENDS = ("probabilities", "logits")
FLOOR = 1e-5
"""Least probability of a combined row: one sure and wrong cell must not sink a cohort."""


def to_space(values: np.ndarray, blend: str) -> np.ndarray:
    """Probabilities (..., 3) as the numbers that ``blend`` averages; logarithms are of ``FLOOR``
    at least, so that a member's zero is no veto."""
    return values if blend == "probabilities" else np.log(np.maximum(values, FLOOR))


def from_space(mixed: np.ndarray, blend: str) -> np.ndarray:
    """Averaged numbers (n, 3) as probabilities: rows sum to one, none below ``FLOOR``."""
    if blend == "logits":
        mixed = np.exp(mixed - mixed.max(axis=1, keepdims=True))
        mixed /= mixed.sum(axis=1, keepdims=True)
    mixed = np.maximum(mixed, FLOOR)
    return mixed / mixed.sum(axis=1, keepdims=True)


def mix_space(
    space: np.ndarray, weights: np.ndarray, cells: np.ndarray | None = None
) -> np.ndarray:
    """Weighted sum (n, 3) of ``space`` (members, all, 3) at the indices ``cells`` (n,)."""
    count = space.shape[1] if cells is None else len(cells)
    mixed = np.zeros((count, 3))
    for row in np.flatnonzero(weights):
        mixed += weights[row] * (space[row] if cells is None else space[row][cells])
    return mixed


def mix(values: np.ndarray, weights: np.ndarray, blend: str = "probabilities") -> np.ndarray:
    """Members (members, n, 3) mixed with ``weights`` (members,): (n, 3) probabilities."""
    return from_space(mix_space(to_space(values, blend), weights), blend)


def calibrate(mixed: np.ndarray, temperature: float, severe_factor: float) -> np.ndarray:
    """Sharpen or soften rows (n, 3) and scale their odds of severe; rows sum to one."""
    if temperature == 1.0 and severe_factor == 1.0:
        return mixed
    raised = mixed ** (1.0 / temperature) * np.array([1.0, 1.0, severe_factor])
    raised = np.maximum(raised / raised.sum(axis=1, keepdims=True), FLOOR)
    return raised / raised.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Combination:
    """How one condition's members become one: weights (members,), then a calibration.

    q is proportional to mix ** (1 / temperature) times (1, 1, severe_factor). ``pruned``: the
    members, by place, whose weight was too small to keep. The strengths, 0 to 1, say how much of
    what was fitted is in the weights (0: the plain mean) and in the calibration (0: none).
    """

    weights: np.ndarray
    temperature: float = 1.0
    severe_factor: float = 1.0
    blend: str = "probabilities"
    pruned: tuple[int, ...] = ()
    weight_strength: float = 1.0
    calibration_strength: float = 0.0

    def apply(self, values: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """(members, n, 3) to (n, 3) float64, rows summing to one, none below ``FLOOR``.

        ``seen`` (n,) bool: some member graded the cell. Where none did, the prior stands in for
        all and stays as it is: a calibration is of what members say.
        """
        mixed = mix(values, self.weights, self.blend)
        return np.where(seen[:, None], self.calibrated(mixed), mixed)

    def calibrated(self, mixed: np.ndarray) -> np.ndarray:
        """The calibration alone, of a mix (n, 3)."""
        return calibrate(mixed, self.temperature, self.severe_factor)
