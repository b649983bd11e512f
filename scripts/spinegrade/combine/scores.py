"""score.json: the ensemble beside the prior, each member alone, and a phantom's floor."""

from __future__ import annotations

from typing import Any

import numpy as np

from spinegrade.combine.blend import mix
from spinegrade.combine.board import Board, count_filled
from spinegrade.errors import SpinegradeError
from spinegrade.metrics.bootstrap import Interval, bootstrap_score, compare, compare_sums
from spinegrade.metrics.cells import LabelledCells
from spinegrade.metrics.score import cell_sums, score_cells


def labelled_cells(board: Board) -> tuple[LabelledCells, np.ndarray]:
    """The labelled cells of a board and the mask (n,) that picks them."""
    mask = board.grade >= 0
    kept, study = np.unique(board.study[mask], return_inverse=True)
    names = board.table["study"].to_numpy(dtype=object)
    first = np.searchsorted(board.study, kept)
    cells = LabelledCells(
        board.region,
        names[first],
        study,
        board.condition[mask],
        board.table["level"].to_numpy(dtype=object)[mask],
        board.table["side"].to_numpy(dtype=object)[mask],
        board.grade[mask],
    )
    return cells, mask


def equal_mix(board: Board, blend: str = "probabilities") -> np.ndarray:
    """The plain mean (n, 3), in the ensemble's blend, of the graders that serve a condition.

    Where none does it is the prior; a cell that a grader lacks counts as its prior.
    """
    mean = board.values[0].copy()
    for code in range(len(board.region.conditions)):
        serving = 1 + np.flatnonzero(board.served[1:, code])
        if len(serving):
            chosen = board.condition == code
            even = np.full(len(serving), 1.0 / len(serving))
            mean[chosen] = mix(board.values[serving][:, chosen], even, blend)
    return mean


def _left_out(
    board: Board,
    probabilities: np.ndarray,
    without: dict[str, np.ndarray],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """By member: the score without it, and the ensemble's minus that (below zero: it helps)."""
    cells, mask = labelled_cells(board)
    whole = cell_sums(cells, probabilities[mask])
    found: dict[str, Any] = {}
    for name, lacking in without.items():
        if np.array_equal(lacking, probabilities):
            # It has no weight anywhere: the same ensemble, and nothing to resample.
            same = Interval(0.0, 0.0, 0.0)
            score = score_cells(cells, probabilities[mask])
        else:
            sums = cell_sums(cells, lacking[mask])
            same = compare_sums(whole, sums, resamples, seed).difference
            score = score_cells(cells, lacking[mask])
        found[name] = {"score": score.as_dict(), "difference": same.as_dict()}
    return found


def _rounded(value: Any) -> Any:
    """Numbers to nine decimals, so that a file does not depend on the last bit of a sum."""
    if isinstance(value, dict):
        return {str(key): _rounded(part) for key, part in value.items()}
    return round(value, 9) if isinstance(value, float) else value


def _against_floor(total: float, floor: dict[str, Any]) -> dict[str, Any]:
    try:
        expected, realised = floor["expected"], floor["realised"]
        ratio = total / realised["total"]
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise SpinegradeError(
            f"the phantom's floor.json lacks expected or realised.total ({error!r}); make the "
            "phantom again",
            code="FLOOR_MALFORMED",
        ) from error
    return {"expected": expected, "realised": realised, "ratio_to_realised": ratio}


def score_report(
    board: Board,
    probabilities: np.ndarray,
    in_sample: np.ndarray | None,
    floor: dict[str, Any] | None,
    resamples: int,
    seed: int,
    weights: dict[str, Any] | None = None,
    without: dict[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """The content of score.json.

    ``probabilities`` (n, 3): the ensemble's, cross-fitted; ``in_sample`` (n, 3) or None when
    nothing was fitted; ``weights``: the content of weights.json; ``without``: by member the
    probabilities (n, 3) of an ensemble that lacks it, None where none was fitted.
    ``equal_weights`` is the plain mean of the graders, in the ensemble's blend, without prior
    or calibration. A grader alone is scored on every labelled cell, the prior
    standing in where it has none. Where the labels do not cover all three conditions there
    is no score: "scored" is false and "reason" says why.
    """
    cells, mask = labelled_cells(board)
    conditions, weights = board.region.conditions, weights or {}
    blend = weights.get("blend", "probabilities")
    report: dict[str, Any] = {
        "blend": blend,
        "pruned": {
            condition: part.get("pruned", [])
            for condition, part in weights.get("all_folds", {}).items()
        },
        "strength": {
            condition: {of: part.get(f"{of}_strength") for of in ("weight", "calibration")}
            for condition, part in weights.get("all_folds", {}).items()
        },
        "counts": {
            "studies": int(board.study.max(initial=-1)) + 1,
            "studies_scored": len(cells.studies),
            "cells_scored": len(cells),
            "cells_without_label_in_folds": int(((board.grade < 0) & (board.fold >= 0)).sum()),
            "filled": count_filled(board),
        },
        "served": {
            name: [conditions[code] for code in np.flatnonzero(board.served[row])]
            for row, name in enumerate(board.members)
        },
    }
    absent = [name for code, name in enumerate(conditions) if not (cells.condition == code).any()]
    if absent:
        reason = f"no labelled cell of {', '.join(absent)}"
        return {**report, "scored": False, "reason": reason}
    ensemble = score_cells(cells, probabilities[mask])
    prior = board.values[0][mask]
    equal = equal_mix(board, blend)
    comparison = compare(cells, probabilities[mask], prior, resamples, seed)
    intervals = bootstrap_score(cells, probabilities[mask], resamples, seed)
    report |= {
        "scored": True,
        "ensemble": ensemble.as_dict(),
        "ensemble_intervals": {part: value.as_dict() for part, value in intervals.items()},
        "ensemble_in_sample": (
            None if in_sample is None else score_cells(cells, in_sample[mask]).as_dict()
        ),
        "equal_weights": score_cells(cells, equal[mask]).as_dict(),
        "difference_to_equal_weights": compare(
            cells, probabilities[mask], equal[mask], resamples, seed
        ).difference.as_dict(),
        "prior": score_cells(cells, prior).as_dict(),
        "classifiers": {
            name: score_cells(cells, board.values[row][mask]).as_dict()
            for row, name in enumerate(board.members)
            if row > 0
        },
        "ratio_to_prior": comparison.ratio.as_dict(),
        "difference_to_prior": comparison.difference.as_dict(),
        "leave_one_out": (
            None if without is None else _left_out(board, probabilities, without, resamples, seed)
        ),
        "bootstrap_resamples": resamples,
        "floor": None if floor is None else _against_floor(ensemble.total, floor),
    }
    return _rounded(report)
