"""What graders of crops predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.grade.views.looks import plain_look
from spinegrade.grade.views.rows import PlainLook, logits_of
from spinegrade.grade.views.samples import Samples
from spinegrade.grade.views.settings import CropSettings, Settings
from spinegrade.grade.views.stores import Opened, open_inputs, samples_of
from spinegrade.models.registry import build
from spinegrade.regions.lumbar_views import cell_of
from spinegrade.tables.files import check_table, empty_table
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.training.fold_models import FoldModels
from spinegrade.training.jobs import Answers
from spinegrade.training.precision import dtype_of
from spinegrade.training.record import FoldModel, Record
from spinegrade.training.task import Moment

__all__ = ["Settings", "network_of", "open_inputs", "predict"]


def network_of(
    settings: Any, opened: Opened, record: Record, weights: Mapping[str, Tensor]
) -> nn.Module:
    """The network that weights are of; whatever it was trained from is in them."""
    options = settings.network_options(opened.shapes, pretrained=False)
    return build(settings.model_name, **options)


def predict(
    settings: Settings, opened: Opened, models: FoldModels[FoldModel], studies: Sequence[str]
) -> Answers:
    """The grades of cells that an image speaks for; of several models the mean of the logits."""
    return predict_rows(settings, opened, models, samples_of(settings, opened, studies), plain_look)


def predict_rows(
    settings: CropSettings,
    opened: Opened,
    models: FoldModels[FoldModel],
    samples: Samples,
    plain_look: PlainLook,
) -> Answers:
    """The same of any kind's rows."""
    parts = [empty_table(PREDICTIONS)]
    for names, chosen in models.by_source(samples.studies):
        mine = samples.of(names)
        logits = []
        for model in chosen:
            at = Moment(model.device, dtype_of(settings.plan(model.fold), model.device))
            logits.append(
                logits_of(
                    *(model.network, mine, settings, opened.shapes, at, plain_look, settings.looks)
                )
            )
        fold = models.cohort.fold_of(names[0])
        table = _table(settings.name, mine, np.mean(logits, axis=0))
        parts.append(table.assign(fold=pd.NA if fold is None else fold))
    full = [part for part in parts if len(part)] or parts[:1]
    order = ["study", "condition", "side", "level"]
    joined = pd.concat(full, ignore_index=True).sort_values(order, ignore_index=True)
    return Answers(check_table(joined, PREDICTIONS))


def _table(grader: str, samples: Samples, logits: NDArray[np.float64]) -> pd.DataFrame:
    """Rows without ``fold`` of the cells that ``samples`` speak for, of ``logits`` (n, C, 3)."""
    powers = np.exp(logits - logits.max(axis=2, keepdims=True))
    probabilities = powers / powers.sum(axis=2, keepdims=True)
    places = samples.places()
    rows = []
    for row, column in np.argwhere(samples.speaks):
        cell = cell_of(*places[row, column].tolist())
        values = probabilities[row, column].tolist()
        rows.append(
            {"study": samples.studies[row], **cell._asdict()}
            | dict(zip(PROBABILITY_COLUMNS, values, strict=True))
            | {"classifier": grader}
        )
    return pd.DataFrame(rows)
