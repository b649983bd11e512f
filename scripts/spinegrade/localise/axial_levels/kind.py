"""What localisers of axial levels learn from: whole studies."""

from __future__ import annotations

from collections.abc import Sequence

from spinegrade.localise.axial_levels.levels import training_sequences
from spinegrade.localise.axial_levels.settings import Settings
from spinegrade.localise.axial_levels.task import LevelTask
from spinegrade.localise.coordinates.kind import Opened, open_inputs

__all__ = ["STREAMS", "Settings", "open_inputs", "task"]

STREAMS = "regressor"


def task(settings: Settings, opened: Opened, studies: Sequence[str]) -> LevelTask:
    """The samples of ``studies``."""
    sequences = training_sequences(settings, opened.stacks, opened.landmarks, studies)
    return LevelTask(sequences, settings)
