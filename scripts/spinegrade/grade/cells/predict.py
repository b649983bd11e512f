"""What graders of single cells predict."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.grade.cells.batches import BatchReader
from spinegrade.grade.cells.cells import CELL_KEY, Opened, open_inputs
from spinegrade.grade.cells.looks import build_network, predict_cells
from spinegrade.grade.cells.settings import Settings
from spinegrade.tables.files import check_table, empty_table
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.training.fold_models import FoldModels
from spinegrade.training.jobs import Answers
from spinegrade.training.precision import dtype_of
from spinegrade.training.record import FoldModel, Record
from spinegrade.training.task import Moment

__all__ = ["Settings", "network_of", "open_inputs", "predict"]

_LOGGER = logging.getLogger("spinegrade")


def network_of(
    settings: Settings, opened: Opened, record: Record, weights: Mapping[str, Tensor]
) -> nn.Module:
    """The grader that weights are of; whatever it was trained from is in them."""
    return build_network(settings, opened.shapes, weights["prior"].numpy())


def predict(
    settings: Settings, opened: Opened, models: FoldModels[FoldModel], studies: Sequence[str]
) -> Answers:
    """The grades of the cells of ``studies`` that have a crop.

    A cell of which no model has learnt anything from the views that show it gets no row: its
    number would be a constant.
    """
    cells = opened.cells
    reader = BatchReader(cells, settings)
    study_of = cells.table["study"].to_numpy()
    parts, without = [empty_table(PREDICTIONS)], 0
    for names, chosen in models.by_source(sorted(set(study_of) & set(studies))):
        places = np.flatnonzero(np.isin(study_of, names))
        total = np.zeros((len(places), 3))
        learnt = np.zeros(len(places), bool)
        for model in chosen:
            at = Moment(model.device, dtype_of(settings.plan(model.fold), model.device))
            total += predict_cells(
                *(model.network, reader, places, opened.shapes, at, settings),
                *(settings.looks, opened.seed),
            )
            silent = model.network.silent_views()
            learnt |= cells.shown_by(view for view in settings.heads if view not in silent)[places]
        without += int((~learnt).sum())
        fold = models.cohort.fold_of(names[0])
        parts.append(_table(settings.name, cells.table.iloc[places[learnt]], total[learnt], fold))
    if without:
        _LOGGER.warning(
            "%d cells get no row: the training labels taught nothing of the crops that show them",
            without,
        )
    full = [part for part in parts if len(part)] or parts[:1]
    return Answers(pd.concat(full, ignore_index=True).sort_values(CELL_KEY, ignore_index=True))


def _table(name: str, cells: pd.DataFrame, total: NDArray[np.float64], fold: Any) -> pd.DataFrame:
    """Rows of predictions, of the sums ``total`` (n, 3) of several models' probabilities."""
    table = cells[CELL_KEY].assign(fold=pd.NA if fold is None else fold, classifier=name)
    probabilities = total / total.sum(axis=1, keepdims=True)
    for column, values in zip(PROBABILITY_COLUMNS, probabilities.T, strict=True):
        table[column] = values
    return check_table(table, PREDICTIONS)
