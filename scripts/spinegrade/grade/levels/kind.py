"""What graders of levels learn from: a level's crops in all views, and its axial slices."""

from __future__ import annotations

from collections.abc import Sequence

from spinegrade.grade.levels import looks
from spinegrade.grade.levels.settings import Settings
from spinegrade.grade.levels.stores import samples_of
from spinegrade.grade.views.stores import Opened, open_inputs
from spinegrade.grade.views.task import ViewTask

__all__ = ["STREAMS", "Settings", "open_inputs", "task"]

STREAMS = "two_stage"


class LevelTask(ViewTask):
    """Levels with their grades."""

    training_look = staticmethod(looks.training_look)
    plain_look = staticmethod(looks.plain_look)


def task(settings: Settings, opened: Opened, studies: Sequence[str]) -> LevelTask:
    """The rows of ``studies``."""
    return LevelTask(samples_of(settings, opened, studies), settings, opened.shapes)
