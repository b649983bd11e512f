"""What localisers that predict which level each axial slice shows learn from."""

from __future__ import annotations

from collections.abc import Sequence

from spinegrade.localise.axial_levels.inputs import Opened, open_inputs, settings_of
from spinegrade.localise.axial_levels.levels import training_sequences
from spinegrade.localise.axial_levels.task import LevelTask
from spinegrade.localise.coordinates.plan import plan_of
from spinegrade.localise.coordinates.settings import (
    Settings,
)

__all__ = ["STREAMS", "open_inputs", "plan_of", "settings_of", "task"]

STREAMS = "regressor"


def task(settings: Settings, opened: Opened, studies: Sequence[str]) -> LevelTask:
    """The samples of ``studies``."""
    sequences = training_sequences(settings, opened.stacks, opened.landmarks, studies)
    return LevelTask(sequences, settings)
