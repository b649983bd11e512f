"""What graders of single cells learn from: crops around a cell's points add up to its grade."""

from __future__ import annotations

from collections.abc import Sequence

from spinegrade.grade.cells.cells import Opened, open_inputs
from spinegrade.grade.cells.settings import Settings
from spinegrade.grade.cells.task import CellTask

__all__ = ["STREAMS", "Settings", "open_inputs", "task"]

STREAMS = "cells"


def task(settings: Settings, opened: Opened, studies: Sequence[str]) -> CellTask:
    """The graded cells of ``studies``."""
    return CellTask(opened.cells, settings, opened.shapes, studies)
