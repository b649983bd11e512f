"""What graders of levels predict."""

from __future__ import annotations

from collections.abc import Sequence

from spinegrade.grade.levels.looks import plain_look
from spinegrade.grade.levels.settings import Settings
from spinegrade.grade.levels.stores import samples_of
from spinegrade.grade.views.predict import network_of, predict_rows
from spinegrade.grade.views.stores import Opened, open_inputs
from spinegrade.training.fold_models import FoldModels
from spinegrade.training.jobs import Answers
from spinegrade.training.record import FoldModel

__all__ = ["Settings", "network_of", "open_inputs", "predict"]


def predict(
    settings: Settings, opened: Opened, models: FoldModels[FoldModel], studies: Sequence[str]
) -> Answers:
    """The grades of cells that an image speaks for; of several models the mean of the logits."""
    return predict_rows(settings, opened, models, samples_of(settings, opened, studies), plain_look)
