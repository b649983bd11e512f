"""What graders of crops around points, by study or by level learn from."""

from __future__ import annotations

from collections.abc import Sequence

from spinegrade.grade.views.inputs import Opened, open_inputs, settings_of
from spinegrade.grade.views.settings import (
    Settings,
    plan_of,
)
from spinegrade.grade.views.stores import samples_of
from spinegrade.grade.views.task import ViewTask

__all__ = ["STREAMS", "open_inputs", "plan_of", "settings_of", "task"]

STREAMS = "two_stage"


def task(settings: Settings, opened: Opened, studies: Sequence[str]) -> ViewTask:
    """The rows of ``studies``."""
    samples = samples_of(settings, opened.shapes, opened.paths, studies, opened.labels)
    return ViewTask(samples, settings, opened.shapes)
