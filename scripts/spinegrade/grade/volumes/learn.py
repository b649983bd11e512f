"""What graders of whole series, which find points and grade them at once learn from."""

from __future__ import annotations

from collections.abc import Sequence

from spinegrade.grade.volumes.inputs import Opened, open_inputs, settings_of
from spinegrade.grade.volumes.samples import training_samples
from spinegrade.grade.volumes.settings import Settings, plan_of
from spinegrade.grade.volumes.task import VolumeTask

__all__ = ["STREAMS", "open_inputs", "plan_of", "settings_of", "task"]

STREAMS = "one_stage"


def task(settings: Settings, opened: Opened, studies: Sequence[str]) -> VolumeTask:
    """The series of ``studies``."""
    samples = training_samples(
        *(settings.target, opened.stacks, opened.landmarks, opened.labels, studies),
        canvas=settings.canvas_px,
        fold=opened.fold,
        partial_studies=settings.partial_studies,
        volumes=opened.volumes,
        network=settings.name,
    )
    return VolumeTask(samples, settings)
