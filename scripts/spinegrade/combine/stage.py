"""From tables to tables: what the rules fit_ensemble and apply_ensemble do."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from spinegrade.combine.board import Board, count_filled, gather
from spinegrade.combine.combine import fit_combinations
from spinegrade.combine.members import ENSEMBLE
from spinegrade.combine.outside import OutsideTable, read_outside
from spinegrade.combine.prior import PRIOR, cross_fitted_prior, prior_table
from spinegrade.combine.provenance import Provenance, served_as_fitted, trace
from spinegrade.combine.scores import score_report
from spinegrade.combine.settings import FitSettings
from spinegrade.combine.weights import apply_combinations, read_weights, weights_dict
from spinegrade.errors import SpinegradeError
from spinegrade.regions.region import Region
from spinegrade.runtime.files import atomic_path, read_json, write_json
from spinegrade.tables.files import read_table, read_tables, write_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.labels import LABELS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.tables.probabilities import PROBABILITIES
from spinegrade.tables.studies import STUDIES

_LOGGER = logging.getLogger("spinegrade")


@dataclass(frozen=True)
class EnsembleSettings:
    """The ensemble's part of the configuration, and the run's seed.

    ``prior_member``: whether the prior is a member; ``blend``: probabilities or logits;
    ``calibration``: never, always or auto; ``calibration_spread``: how far a calibration may
    move (a standard deviation of logarithms); ``prune``: the least weight that is kept;
    ``leave_one_out``: whether the ensemble is also fitted without each member; ``shrinkage``:
    never, or auto: only as much of the fit counts as the training folds bear out;
    ``bootstrap_resamples``: resamples of studies for the intervals.
    """

    prior_member: bool = True
    blend: str = "probabilities"
    calibration: str = "auto"
    calibration_spread: float = 0.25
    prune: float = 0.0
    leave_one_out: bool = True
    shrinkage: str = "auto"
    bootstrap_resamples: int = 1000
    seed: int = 0

    def of_fit(self) -> FitSettings:
        """What the fit needs of it; raises SpinegradeError for an unknown word."""
        return FitSettings(
            self.prior_member,
            self.blend,
            self.calibration,
            self.calibration_spread,
            self.prune,
            self.leave_one_out,
            self.shrinkage,
        )


@dataclass(frozen=True)
class EnsembleOutputs:
    """Where the stage writes."""

    weights: Path
    probabilities: Path
    prior: Path
    filled: Path
    score: Path


class EnsembleInputs(NamedTuple):
    """The paths of what is combined.

    ``predictions``: the predictions tables (out-of-fold and new) of each grader;
    ``floor``: a phantom's floor.json; ``outside``: tables that others made, by name.
    """

    labels: str | Path
    studies: str | Path
    predictions: Mapping[str, list[str]]
    floor: str | Path | None = None
    outside: Mapping[str, OutsideTable] = MappingProxyType({})


def read_predictions(paths: Mapping[str, list[str]]) -> dict[str, pd.DataFrame]:
    """Out-of-fold and new predictions of each grader, joined, by its name.

    Raises SpinegradeError for a table that holds another grader's rows and for a name
    that the ensemble uses itself.
    """
    tables = {}
    for name, files in paths.items():
        if name in (PRIOR, ENSEMBLE):
            raise SpinegradeError(
                f"a grader may not be called {name!r}; rename it", code="MEMBER_NAME_TAKEN"
            )
        table = read_tables(files, PREDICTIONS)
        strangers = sorted(set(table["classifier"]) - {name})
        if strangers:
            raise SpinegradeError(
                f"{', '.join(map(str, files))}: expected rows of grader {name!r} only, found "
                f"{strangers}; rerun the rule that made it",
                code="PREDICTIONS_OF_ANOTHER",
            )
        tables[name] = table
    return tables


def _with_outside(
    tables: dict[str, pd.DataFrame],
    outside: Mapping[str, OutsideTable],
    fold_of: pd.Series,
    region: Region,
    compare_folds: bool = True,
) -> dict[str, pd.DataFrame]:
    """The graders' tables and, after them, those that others made."""
    made = {
        name: read_outside(name, table, fold_of, region, compare_folds)
        for name, table in outside.items()
    }
    taken = sorted(made.keys() & {*tables, PRIOR, ENSEMBLE})
    if taken:
        raise SpinegradeError(
            f"combine.outside: the name {taken[0]!r} is taken; give another",
            code="MEMBER_NAME_TAKEN",
            key="combine.outside",
        )
    return tables | made


def _write(
    outputs: EnsembleOutputs,
    board: Board,
    probabilities: np.ndarray,
    provenance: Provenance,
    prior: pd.DataFrame,
    weights: dict[str, Any],
    score: dict[str, Any],
) -> None:
    filled = provenance.filled(board)
    if len(filled):
        counts = {name: sum(part.values()) for name, part in count_filled(board).items()}
        alone = int((filled["source"] == PRIOR).sum())
        _LOGGER.warning(
            "%d of %d cells hold the prior alone: no member with a weight graded them; filled with "
            "the prior, by grader: %s (see filled.csv)",
            *(alone, len(board.fold), counts),
        )
    with atomic_path(outputs.filled) as temporary:
        filled.to_csv(temporary, index=False)
    write_table(outputs.prior, prior, PREDICTIONS)
    combined = provenance.told(board.predictions(probabilities, ENSEMBLE))
    write_table(outputs.probabilities, combined, PROBABILITIES)
    score["counts"] |= provenance.counts(board)
    write_json(outputs.weights, weights)
    write_json(outputs.score, score)
    _tell(score)


def _tell(score: dict[str, Any]) -> None:
    if not score["scored"]:
        _LOGGER.info("no score: %s", score["reason"])
        return
    alone = {name: part["total"] for name, part in score["classifiers"].items()}
    for name, total in sorted(alone.items(), key=lambda pair: pair[1]):
        _LOGGER.info("score %.4f: %s alone", total, name)
    _LOGGER.info("score %.4f: all with equal weights", score["equal_weights"]["total"])
    interval = score["ensemble_intervals"]["total"]
    _LOGGER.info(
        "score %.4f (%.4f to %.4f): the ensemble; %.4f: the prior; lower is better",
        *(interval["value"], interval["low"], interval["high"], score["prior"]["total"]),
    )


def fit_ensemble(
    inputs: EnsembleInputs,
    folds: str | Path,
    outputs: EnsembleOutputs,
    settings: EnsembleSettings,
    region: Region,
) -> None:
    """Fit the prior and the ensemble, score both, and write every table of the room.

    Studies in no fold are combined with what was fitted on all folds. Raises SpinegradeError for
    tables that ``gather`` or ``read_outside`` refuses.
    """
    label_table = read_table(inputs.labels, LABELS)
    fold_table = read_table(folds, FOLDS).set_index("study")["fold"]
    everyone = read_table(inputs.studies, STUDIES)["study"]
    strangers = fold_table.index.difference(pd.Index(everyone))
    if len(strangers):
        raise SpinegradeError(
            f"{folds}: study {strangers[0]} is not in {inputs.studies}; rerun split_folds",
            code="FOLDS_STUDY_UNKNOWN",
        )
    fold_of = fold_table.reindex(everyone)
    prior, whole_prior = cross_fitted_prior(label_table, fold_of, region)
    members = _with_outside(read_predictions(inputs.predictions), inputs.outside, fold_of, region)
    board = gather(label_table, fold_of, prior, members, region)
    fitted, cross_fitted, in_sample = fit_combinations(board, settings.of_fit())
    weights = weights_dict(fitted, whole_prior, settings.of_fit())
    score = score_report(
        board,
        cross_fitted,
        in_sample,
        read_json(inputs.floor) if inputs.floor else None,
        settings.bootstrap_resamples,
        settings.seed,
        weights,
        fitted.without if settings.leave_one_out else None,
    )
    provenance = trace(board, weights, inputs.outside)
    _write(outputs, board, cross_fitted, provenance, prior, weights, score)


def apply_ensemble(
    inputs: EnsembleInputs,
    trained_weights: str | Path,
    outputs: EnsembleOutputs,
    settings: EnsembleSettings,
    region: Region,
) -> None:
    """Combine another run's studies with the weights and the prior of a finished run.

    Nothing is fitted: every study counts as new, and labels, where there are any, serve the
    score alone. Raises SpinegradeError for weights that were fitted in another blend than the
    settings', or whose members this run lacks.
    """
    trained = read_weights(trained_weights, settings.of_fit().blend, region)
    label_table = read_table(inputs.labels, LABELS)
    everyone = sorted(read_table(inputs.studies, STUDIES)["study"])
    fold_of = pd.Series(pd.array([pd.NA] * len(everyone), dtype="Int64"), index=everyone)
    prior = prior_table(trained["prior"], everyone, None, region)
    # Whatever fold this run's studies are in, none of the finished run's models saw them.
    tables = read_predictions(inputs.predictions)
    for table in tables.values():
        table["fold"] = pd.array([pd.NA] * len(table), dtype="Int64")
    members = _with_outside(tables, inputs.outside, fold_of, region, compare_folds=False)
    board = served_as_fitted(gather(label_table, fold_of, prior, members, region), trained)
    probabilities = apply_combinations(board, trained["all_folds"], settings.blend)
    score = score_report(
        board,
        probabilities,
        None,
        read_json(inputs.floor) if inputs.floor else None,
        settings.bootstrap_resamples,
        settings.seed,
        {"blend": settings.blend, **trained},
    )
    provenance = trace(board, trained, inputs.outside)
    _write(outputs, board, probabilities, provenance, prior, trained, score)
