"""Predictions: every study by models that never saw it, new studies by the mean of all."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.errors import SpinegradeError
from spinegrade.grade.cells.batches import BatchMaker
from spinegrade.grade.cells.cells import CELL_KEY, Cells
from spinegrade.grade.cells.network import load_network, precision_of, predict_cells
from spinegrade.grade.cells.settings import CropShape, Settings
from spinegrade.names import PROBABILITY_COLUMNS
from spinegrade.runtime.seeds import stream_seed
from spinegrade.runtime.torch_setup import prepare
from spinegrade.tables import check_table
from spinegrade.training.leaks import refuse_leak

_LOGGER = logging.getLogger("spinegrade")


def predict(
    settings: Settings,
    shapes: Mapping[str, CropShape],
    cells: Cells,
    weights: Sequence[Path],
    seed: int,
    threads: int,
    device: str = "auto",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Out-of-fold and new predictions, two "predictions" tables.

    Each cell of a study with a fold is predicted by that fold's model, each of a new study
    by the mean over all. A cell of which no model has learnt anything from the views that show it
    gets no row: its number would be a constant. Raises SpinegradeError when a model was trained
    on a study that it is to predict, or a fold has no model.
    """
    place = prepare(stream_seed(seed, settings.name, "predict"), threads, device)
    maker = BatchMaker(cells, settings, place)
    dtype = precision_of(settings, place)
    of_fold = cells.table["fold"].to_numpy(float, na_value=np.nan)
    new = np.flatnonzero(np.isnan(of_fold))
    out_of_fold = np.full((len(of_fold), 3), np.nan)
    of_new = np.zeros((len(new), 3))
    learnt = np.zeros(len(of_fold), bool)
    draws = settings.test_draws
    for path in weights:
        network, fold, trained_on = load_network(Path(path), settings, shapes, place)
        mine = np.flatnonzero(of_fold == fold)
        predicted = cells.table["study"].iloc[np.r_[mine, new]]
        refuse_leak(path, trained_on, predicted, "classifier")
        silent = network.silent_views()
        shown = cells.shown_by(view for view in settings.heads if view not in silent)
        learnt |= shown & (np.isnan(of_fold) | (of_fold == fold))
        out_of_fold[mine] = predict_cells(network, maker, mine, dtype, draws, seed)
        of_new += predict_cells(network, maker, new, dtype, draws, seed) / len(weights)
        _LOGGER.info("fold %d predicted %d cells of its own, %d new", fold, len(mine), len(new))
    known = np.flatnonzero(~np.isnan(of_fold))
    missing = np.unique(of_fold[known][np.isnan(out_of_fold[known, 0])])
    if len(missing):
        raise SpinegradeError(
            f"classifier {settings.name}: no model for the folds {missing.astype(int).tolist()}; "
            "run train_classifier for them"
        )
    if not learnt.all():
        _LOGGER.warning(
            "%d cells get no row: the training labels taught nothing of the crops that show them",
            int((~learnt).sum()),
        )
    of_new = of_new[learnt[new]]
    known, new = known[learnt[known]], new[learnt[new]]
    return (
        _table(settings.name, cells.table.iloc[known], out_of_fold[known]),
        _table(settings.name, cells.table.iloc[new], of_new),
    )


def _table(
    classifier: str, cells: pd.DataFrame, probabilities: NDArray[np.float64]
) -> pd.DataFrame:
    table = cells[[*CELL_KEY, "fold"]].assign(classifier=classifier)
    for column, values in zip(PROBABILITY_COLUMNS, probabilities.T, strict=True):
        table[column] = values
    return check_table(table, "predictions")
