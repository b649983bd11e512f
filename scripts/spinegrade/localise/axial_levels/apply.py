"""What localisers that predict which level each axial slice shows predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from spinegrade.keypoint_rows import no_series
from spinegrade.localise.axial_levels.find import find_levels
from spinegrade.localise.axial_levels.inputs import Opened, open_inputs, settings_of
from spinegrade.localise.axial_levels.network import build_network
from spinegrade.localise.coordinates import apply as coordinates
from spinegrade.localise.coordinates.samples import stacks_by_study
from spinegrade.localise.coordinates.settings import (
    Settings,
    settings_from_plain,
)
from spinegrade.runtime.progress import progress
from spinegrade.training.fold_models import FoldModels
from spinegrade.training.jobs import Found
from spinegrade.training.record import FoldModel, Record, load_model

__all__ = ["network_of", "open_inputs", "predict", "settings_of"]


def network_of(
    settings: Settings, opened: Any, record: Record, weights: Mapping[str, Tensor]
) -> nn.Module:
    """The network that a record is of."""
    return build_network(settings_from_plain(record.settings), None)


def predict(
    settings: Settings, opened: Opened, models: FoldModels[FoldModel], studies: Sequence[str]
) -> Found:
    """The points of ``studies``; raises SpinegradeError where one of both has seen a study."""
    device = models.models[0].device
    expected = {"name": opened.xy_from, "room": "localise", "kind": "coordinates"}
    made = partial(coordinates.network_of, None, None)
    placing = FoldModels(
        str(opened.xy_from),
        [load_model(path, expected, made, device) for path in opened.placing],
        models.cohort,
    )
    target = settings.channels[0]
    by_study = stacks_by_study(opened.stacks, target)
    found = Found([], [])
    for study in progress(studies, f"Finding {models.name} points"):
        if study not in by_study:
            found.rejected.append(no_series(study, target))
            continue
        chosen, source = models.of(study)
        found.keypoints.extend(find_levels(chosen, placing.of(study)[0], by_study[study], source))
    return found
