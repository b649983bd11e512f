"""What localisers that predict a heatmap for each point learn from."""

from __future__ import annotations

from collections.abc import Sequence

from spinegrade.localise.heatmap.inputs import Opened, open_inputs, settings_of
from spinegrade.localise.heatmap.offsets import fit_offsets
from spinegrade.localise.heatmap.samples import training_samples
from spinegrade.localise.heatmap.settings import Settings, plan_of
from spinegrade.localise.heatmap.task import HeatmapTask

__all__ = ["STREAMS", "open_inputs", "plan_of", "settings_of", "task"]

STREAMS = "heatmap"


def task(settings: Settings, opened: Opened, studies: Sequence[str]) -> HeatmapTask:
    """The samples of ``studies``."""
    samples = training_samples(settings.block, opened.stacks, opened.landmarks, studies)
    return HeatmapTask(samples, settings, fit_offsets(opened.landmarks, studies))
