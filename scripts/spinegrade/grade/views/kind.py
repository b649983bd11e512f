"""What graders of crops learn from: the views of a study's cells."""

from __future__ import annotations

from collections.abc import Sequence

from spinegrade.grade.views.settings import Settings
from spinegrade.grade.views.stores import Opened, open_inputs, samples_of
from spinegrade.grade.views.task import ViewTask

__all__ = ["STREAMS", "Settings", "open_inputs", "task"]

STREAMS = "two_stage"


def task(settings: Settings, opened: Opened, studies: Sequence[str]) -> ViewTask:
    """The rows of ``studies``."""
    return ViewTask(samples_of(settings, opened, studies), settings, opened.shapes)
