"""How an ensemble is fitted, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from spinegrade.combine.blend import BLENDS, Combination
from spinegrade.errors import SpinegradeError

CALIBRATIONS = ("never", "always", "auto")
SHRINKAGES = ("never", "auto")


@dataclass(frozen=True)
class FitSettings:
    """How the ensemble is fitted; see ``resources/schemas/config/combine.yaml``.

    ``spread`` is the standard deviation of the prior on the logarithms of temperature and
    severe factor; ``prune`` the least weight that is kept; ``shrinkage`` whether only as much of
    the fit counts as the training folds bear out. Raises SpinegradeError for a blend, a
    calibration or a shrinkage that there is not.
    """

    prior_member: bool = True
    blend: str = "probabilities"
    calibration: str = "auto"
    spread: float = 0.25
    prune: float = 0.0
    leave_one_out: bool = False
    shrinkage: str = "auto"

    def __post_init__(self) -> None:
        words = (("blend", BLENDS), ("calibration", CALIBRATIONS), ("shrinkage", SHRINKAGES))
        for key, allowed in words:
            value = getattr(self, key)
            if value not in allowed:
                raise SpinegradeError(
                    f"combine.{key} is {value!r}; allowed: {', '.join(allowed)}",
                    code="COMBINE_WORD",
                    key=f"combine.{key}",
                )


@dataclass(frozen=True)
class Fitted:
    """What was fitted: by condition, for all folds together and for each fold left out.

    ``members`` gives the names that each condition's weights belong to. ``without``: by member
    the cross-fitted probabilities (n, 3) of an ensemble that lacks it; empty unless asked for.
    """

    members: dict[str, tuple[str, ...]]
    whole: dict[str, Combination]
    by_fold: dict[int, dict[str, Combination]]
    without: dict[str, np.ndarray] = field(default_factory=dict)
