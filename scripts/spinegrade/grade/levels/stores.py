"""The stores that a grader of levels reads, brought to its rows."""

from __future__ import annotations

from collections.abc import Iterable

from spinegrade.grade.levels.samples import LevelSamples, level_samples
from spinegrade.grade.levels.sequence_store import open_sequences
from spinegrade.grade.levels.settings import Settings
from spinegrade.grade.views.stores import Opened


def samples_of(settings: Settings, opened: Opened, studies: Iterable[str]) -> LevelSamples:
    """The rows of ``studies``; raises SpinegradeError for slices of another shape."""
    size = opened.shapes[settings.sequence].seen[1:]
    sequences = open_sequences(size, opened.slices, opened.sequences)
    return level_samples(opened.stores, sequences, settings.positions, studies, opened.labels)
