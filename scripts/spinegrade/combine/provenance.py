"""Where each combined number comes from: which members graded the cell, and the prior's share.

A member speaks for a cell if it has a row of it and a weight in the combination that made the
number. Where none does the number is the prior's, whatever the weights say.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.combine.board import NO_FOLD, Board
from spinegrade.metrics.cells import KEY
from spinegrade.tables.probabilities import SOURCES

_IMAGE, _OUTSIDE, _PRIOR = SOURCES


@dataclass(frozen=True)
class Provenance:
    """Of the n cells of a board.

    ``source`` (n,) words of ``SOURCES``; ``members`` (n,) the names of those that speak,
    joined by commas; ``lacking`` (n,) the names of those that serve the condition but have no row
    of the cell, whether they have a weight or not; ``prior_weight`` (n,) float64 from 0 to 1, what
    the prior holds for members that lack the cell included.
    """

    source: NDArray[np.object_]
    members: NDArray[np.object_]
    lacking: NDArray[np.object_]
    prior_weight: NDArray[np.float64]

    def told(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """The ensemble's "predictions" of the whole board as a table of kind "probabilities"."""
        return predictions.assign(
            source=self.source, members=self.members, prior_weight=self.prior_weight
        )

    def filled(self, board: Board) -> pd.DataFrame:
        """The cells in which the prior stands in, for all members or for some.

        Columns study, condition, level, side, source, members, lacking, prior_weight.
        """
        columns = ["source", "members", "lacking", "prior_weight"]
        table = board.table[KEY].assign(**{name: getattr(self, name) for name in columns})
        return table[(self.source == _PRIOR) | (self.lacking != "")].reset_index(drop=True)

    def counts(self, board: Board) -> dict[str, Any]:
        """How many cells have each source by condition, and how many labelled ones the prior's."""
        return {
            "sources": {
                condition: {
                    source: int(((board.condition == code) & (self.source == source)).sum())
                    for source in SOURCES
                }
                for code, condition in enumerate(board.region.conditions)
            },
            "cells_scored_by_prior_alone": int(
                ((board.grade >= 0) & (self.source == _PRIOR)).sum()
            ),
        }


def served_as_fitted(board: Board, weights: dict[str, Any]) -> Board:
    """``board`` on which a member also serves the conditions that it served in the fit.

    ``weights``: the content of weights.json. Studies that are new may lack all that a member
    looks at: it still serves the condition, and each of its cells there is filled.
    """
    served = board.served.copy()
    for code, condition in enumerate(board.region.conditions):
        for row, name in enumerate(board.members):
            served[row, code] |= name in weights["all_folds"][condition]["weights"]
    return replace(board, served=served)


def trace(board: Board, weights: dict[str, Any], outside: Collection[str] = ()) -> Provenance:
    """Where the combined number of every cell of ``board`` comes from.

    ``weights``: the content of weights.json: a study in fold k has those fitted without k, one in
    no fold those of all. ``outside``: the members that others made.
    """
    weight = _cell_weights(board, weights)
    speaks = board.spoken & (weight > 0.0)
    is_outside = np.isin(board.members, list(outside))
    source = np.full(len(board.fold), _PRIOR, dtype=object)
    source[speaks[is_outside].any(axis=0)] = _OUTSIDE
    source[speaks[~is_outside].any(axis=0)] = _IMAGE
    share = 1.0 - np.where(speaks, weight, 0.0).sum(axis=0)
    share = np.where(source == _PRIOR, 1.0, np.clip(share.round(9), 0.0, 1.0))
    lacking = board.served[:, board.condition] & board.filled
    return Provenance(source, _joined(board, speaks), _joined(board, lacking), share)


def _cell_weights(board: Board, weights: dict[str, Any]) -> NDArray[np.float64]:
    """The weight (members, n) that each member has in the combination of each cell."""
    found = np.zeros(board.filled.shape)
    for fold in np.unique(board.fold):
        part = weights["all_folds"] if fold == NO_FOLD else weights["without_fold"][str(fold)]
        for code, condition in enumerate(board.region.conditions):
            chosen = (board.fold == fold) & (board.condition == code)
            for row, name in enumerate(board.members):
                found[row, chosen] = part[condition]["weights"].get(name, 0.0)
    return found


def _joined(board: Board, chosen: NDArray[np.bool_]) -> NDArray[np.object_]:
    """The names (n,) of the members for which ``chosen`` (members, n) holds, by commas."""
    joined = np.full(chosen.shape[1], "", dtype=object)
    # Few sets of members occur: each is joined once.
    sets, place = np.unique(chosen, axis=1, return_inverse=True)
    for number, column in enumerate(sets.T):
        names = [name for name, part in zip(board.members, column, strict=True) if part]
        joined[place.ravel() == number] = ",".join(names)
    return joined
