"""Axial points by two networks: which slice shows a level, and where in it the points lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spinegrade.keypoint_rows import point_rows
from spinegrade.localise.axial_levels.levels import read_slices, sequence_of
from spinegrade.localise.axial_levels.network import settings_of_model
from spinegrade.localise.coordinates.augment import plain
from spinegrade.localise.coordinates.frames import Frame
from spinegrade.localise.coordinates.network import settings_of_model as of_places
from spinegrade.localise.coordinates.regress import regress
from spinegrade.localise.coordinates.samples import Look
from spinegrade.losses.sequence_terms import soft_places
from spinegrade.regions.lumbar_mri import LUMBAR_LEVELS, SUBARTICULAR
from spinegrade.regions.region import Cell
from spinegrade.training.precision import autocast, dtype_of
from spinegrade.training.record import FoldModel
from spinegrade.volumes import Stack


def side_chances(models: Sequence[FoldModel], slices: Tensor) -> Tensor:
    """(L, 2, 5) how near each slice is to each point, from 0 to 1.

    ``slices`` uint8 (L, S, S). From the mean logits over ``models`` and over the slices as they
    are, with their columns and with their rows reversed. Reversed columns show the left as the
    right, which is heeded unless the published flip is kept.
    """
    settings, device = settings_of_model(models[0]), models[0].device
    dtype = dtype_of(settings.plan(models[0].fold), device)
    seen = plain(slices.to(device))
    exchanged = [] if settings.keeps("flip") else [1]
    told = []
    with torch.inference_mode(), autocast(device, dtype):
        for model in models:
            told.append(model.network(seen).sides.float())
            told.append(model.network(seen.flip(2)).sides.float().flip(exchanged))
            told.append(model.network(seen.flip(1)).sides.float())
    return torch.stack(told).mean(dim=0).sigmoid().cpu()


def find_levels(
    models: Sequence[FoldModel],
    placing: Sequence[FoldModel],
    stacks: Sequence[Stack],
    source: str,
) -> list[dict[str, Any]]:
    """Keypoint rows of one study: left and right point of each level in each of its series.

    A point lies where the slices' chances have their mean, in the slice nearest to that place by
    ``placing``, networks of single slices; its confidence is the greatest chance of its series.
    """
    settings, frame_px = settings_of_model(models[0]), of_places(placing[0]).frame_px
    look = sequence_of(settings, stacks)
    chances = side_chances(models, torch.from_numpy(read_slices(settings, look)))
    ends = np.cumsum([0, *(len(places) for places in look.places)])
    segments = list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
    rows = []
    found = soft_places(chances, segments).double().numpy()
    for seen, (first, end), places in zip(look.frames, segments, found, strict=True):
        slices = seen.stack.slices
        # The networks may look at frames of different size.
        frame = Frame(seen.stack, frame_px)
        shares = places / (end - first)
        shown = np.rint(shares * slices).clip(0, slices - 1).astype(int)
        wanted, back = np.unique(shown, return_inverse=True)
        looks = [Look((frame,), (np.array([place]),)) for place in wanted]
        in_plane = regress(placing, looks)[back.reshape(shown.shape)]
        sure = chances[first:end].amax(dim=0).numpy()
        for row, side in enumerate(("left", "right")):
            points = np.column_stack([in_plane[row, :, row], shares[row] * slices])
            points[:, :2] = points[:, :2].clip(-0.5, frame.frame_px - 0.5)
            points[:, 2] = points[:, 2].clip(0, slices - 1)
            cells = [Cell(SUBARTICULAR, level, side) for level in LUMBAR_LEVELS]
            rows += point_rows(frame.stack, frame.to_stack, points, sure[row], cells, source)
    return rows
