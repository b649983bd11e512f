"""What localisers that predict points as coordinates learn from."""

from __future__ import annotations

from collections.abc import Sequence

from spinegrade.localise.coordinates.inputs import Opened, open_inputs, settings_of
from spinegrade.localise.coordinates.plan import plan_of
from spinegrade.localise.coordinates.samples import training_samples
from spinegrade.localise.coordinates.settings import (
    Settings,
)
from spinegrade.localise.coordinates.task import PointTask

__all__ = ["STREAMS", "open_inputs", "plan_of", "settings_of", "task"]

STREAMS = "regressor"


def task(settings: Settings, opened: Opened, studies: Sequence[str]) -> PointTask:
    """The samples of ``studies``."""
    return PointTask(training_samples(settings, opened.stacks, opened.landmarks, studies), settings)
