"""What graders of single cells, whose crops add up to a grade learn from."""

from __future__ import annotations

from collections.abc import Sequence

from spinegrade.grade.cells.inputs import Opened, open_inputs, settings_of
from spinegrade.grade.cells.settings import Settings, plan_of
from spinegrade.grade.cells.task import CellTask

__all__ = ["STREAMS", "open_inputs", "plan_of", "settings_of", "task"]

STREAMS = "cells"


def task(settings: Settings, opened: Opened, studies: Sequence[str]) -> CellTask:
    """The graded cells of ``studies``."""
    return CellTask(opened.cells, settings, opened.shapes, studies)
