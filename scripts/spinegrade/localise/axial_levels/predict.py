"""The points of axial slices: one localiser predicts the levels, another the places in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from spinegrade.keypoint_rows import no_series
from spinegrade.localise.axial_levels.find import find_levels
from spinegrade.localise.axial_levels.network import build_network
from spinegrade.localise.axial_levels.settings import Settings
from spinegrade.localise.coordinates import predict as coordinates
from spinegrade.localise.coordinates.samples import stacks_by_study
from spinegrade.runtime.progress import progress
from spinegrade.training.fold_models import FoldModels
from spinegrade.training.jobs import Found, PredictJob
from spinegrade.training.record import FoldModel, Record, load_model
from spinegrade.volumes import Stack, load_stacks

__all__ = ["Settings", "network_of", "open_inputs", "predict"]


class Opened(NamedTuple):
    """``stacks`` of the shard; ``placing``: weights of ``xy_from``, which finds places."""

    stacks: list[Stack]
    placing: list[str]


def open_inputs(settings: Settings, job: PredictJob) -> Opened:
    """The tables of a job."""
    return Opened(load_stacks(job.inputs["stacks"]), list(job.inputs["xy_weights"]))


def network_of(
    settings: Settings, opened: Any, record: Record, weights: Mapping[str, Tensor]
) -> nn.Module:
    """The network that a record is of."""
    return build_network(Settings(record.name, record.settings), None)


def predict(
    settings: Settings, opened: Opened, models: FoldModels[FoldModel], studies: Sequence[str]
) -> Found:
    """The points of ``studies``; raises SpinegradeError where one of both has seen a study."""
    device, xy_from = models.models[0].device, settings.block["xy_from"]
    expected = {"name": xy_from, "room": "localise", "kind": "coordinates"}
    made = partial(coordinates.network_of, None, None)
    placing = FoldModels(
        xy_from,
        [load_model(path, expected, made, device) for path in opened.placing],
        models.cohort,
    )
    by_study = stacks_by_study(opened.stacks, settings.target)
    found = Found([], [])
    for study in progress(studies, f"Finding {models.name} points"):
        if study not in by_study:
            found.rejected.append(no_series(study, settings.target))
            continue
        chosen, source = models.of(study)
        found.keypoints.extend(find_levels(chosen, placing.of(study)[0], by_study[study], source))
    return found
