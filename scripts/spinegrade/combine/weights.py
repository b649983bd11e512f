"""weights.json: what a fit found, written, read again and applied as it was fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spinegrade.combine.blend import Combination
from spinegrade.combine.board import Board
from spinegrade.combine.settings import FitSettings, Fitted
from spinegrade.errors import SpinegradeError
from spinegrade.regions.region import Region
from spinegrade.runtime.files import read_json

FIRST_BLEND = "probabilities"
"""How weights were fitted that do not say it: files from before there was a choice."""


def weights_dict(fitted: Fitted, prior: dict, settings: FitSettings) -> dict[str, Any]:
    """The content of weights.json: numbers rounded to nine decimals, keys as text.

    ``prior``: that of all folds.
    """

    def described(part: dict[str, Combination]) -> dict[str, Any]:
        return {
            condition: {
                "weights": {
                    name: round(float(weight), 9)
                    for name, weight in zip(
                        fitted.members[condition], combination.weights, strict=True
                    )
                },
                "temperature": round(combination.temperature, 9),
                "severe_factor": round(combination.severe_factor, 9),
                "weight_strength": round(combination.weight_strength, 9),
                "calibration_strength": round(combination.calibration_strength, 9),
                "pruned": [fitted.members[condition][place] for place in combination.pruned],
            }
            for condition, combination in part.items()
        }

    return {
        "blend": settings.blend,
        "prune": settings.prune,
        "shrinkage": settings.shrinkage,
        "prior": prior,
        "all_folds": described(fitted.whole),
        "without_fold": {str(fold): described(part) for fold, part in fitted.by_fold.items()},
    }


def read_weights(path: str | Path, blend: str, region: Region) -> dict[str, Any]:
    """Read a weights.json of ``region`` whose weights are to be applied in ``blend``.

    A file that names no blend was fitted on probabilities. Raises SpinegradeError, with the file
    and the place in it, for another blend than ``blend`` and for anything that is not there or
    not a number: weights must be nothing below zero and sum to one within 1e-6.
    """
    found = read_json(path)

    def refuse(where: str, expected: str) -> SpinegradeError:
        return SpinegradeError(
            f"{path}: {where}: expected {expected}; models.from must name a finished run whose "
            "combine/weights.json is as fit_ensemble wrote it",
            code="WEIGHTS_MALFORMED",
        )

    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and bool(np.isfinite(value))

    if not isinstance(found, dict) or not {"prior", "all_folds"} <= found.keys():
        raise refuse("its top", "the keys prior and all_folds")
    fitted_in = found.get("blend", FIRST_BLEND)
    if fitted_in != blend:
        raise SpinegradeError(
            f"{path}: its weights were fitted on {fitted_in}, but combine.blend is {blend!r}; "
            f"weights are applied as they were fitted: set combine.blend: {fitted_in}",
            code="WEIGHTS_OF_ANOTHER_BLEND",
            key="combine.blend",
        )
    for condition in region.conditions:
        for level in region.levels:
            try:
                row = found["prior"][condition][level]
                good = len(row) == len(region.grades) and all(map(is_number, row))
            except (KeyError, TypeError):
                good = False
            if not good:
                raise refuse(f"prior.{condition}.{level}", "three numbers")
        where = f"all_folds.{condition}"
        try:
            part = found["all_folds"][condition]
            weights = list(part["weights"].values())
            numbers = [*weights, part["temperature"], part["severe_factor"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise refuse(where, "weights, temperature and severe_factor") from error
        if not all(map(is_number, numbers)) or min(numbers[-2:]) <= 0.0:
            raise refuse(where, "numbers, the temperature and the factor above zero")
        if min(weights, default=-1.0) < 0.0 or abs(sum(weights) - 1.0) > 1e-6:
            raise refuse(f"{where}.weights", "weights of at least 0 that sum to 1")
    return found


def apply_combinations(
    board: Board, weights: dict[str, Any], blend: str = FIRST_BLEND
) -> np.ndarray:
    """Combine a board with the ``all_folds`` part of a weights.json; returns (n, 3).

    Where a member is filled, its weight falls to the prior; a cell that no member has is
    the prior as it is. Raises SpinegradeError for a member
    with a weight that the board lacks; one without a weight may be missing.
    """
    combined = np.empty((len(board.fold), 3))
    for code, condition in enumerate(board.region.conditions):
        part = weights[condition]
        wanted = {name: weight for name, weight in part["weights"].items() if weight > 0.0}
        missing = [name for name in wanted if name not in board.members]
        if missing:
            raise SpinegradeError(
                f"the ensemble's weights for {condition} name the member {missing[0]!r}, which "
                f"this run does not have; it has {', '.join(board.members)}; a member that was "
                "an outside table needs one of the same name for these studies (combine.outside)",
                code="WEIGHTS_MEMBER_MISSING",
            )
        rows = [board.members.index(name) for name in wanted]
        chosen = board.condition == code
        combination = Combination(
            np.array(list(wanted.values())), part["temperature"], part["severe_factor"], blend
        )
        combined[chosen] = combination.apply(board.values[rows][:, chosen], board.seen[chosen])
    return combined
