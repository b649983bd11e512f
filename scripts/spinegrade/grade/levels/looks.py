"""What a grader of levels sees of a batch: as training varies it, as it is, or in a mirror."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from spinegrade.crop_shape import CropShape
from spinegrade.grade.levels.settings import Settings
from spinegrade.grade.views.base_augment import augmented, draw, plain
from spinegrade.grade.views.looks import mirrored_groups, sagittal_training
from spinegrade.grade.views.samples import Batch

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of red, green and blue, of grey from 0 to 1."""


def training_look(
    batch: Batch, settings: Settings, shapes: Mapping[str, CropShape], draws: torch.Generator
) -> dict[str, Tensor]:
    """The network's inputs, varied by ``draws``, a generator on the CPU."""
    crops = sagittal_training(
        *(batch.images["sagittal"], batch.aspects["sagittal"], settings.augment),
        *(_size(settings, shapes), draws),
        # T1 and T2 are varied apart here, as one image in graders of single views.
        stack_of_group=(0, 1, 1),
    )
    return {**_inputs(crops, _varied_sequences(batch, settings, draws)), **batch.there}


def plain_look(
    batch: Batch, settings: Settings, shapes: Mapping[str, CropShape], look: str
) -> dict[str, Tensor]:
    """The network's inputs, not varied; ``look`` as in ``views.looks``."""
    crops = plain(batch.images["sagittal"], _size(settings, shapes))
    axial = batch.images["axial"].float().div_(127.5).sub_(1)
    there = batch.there["sagittal_there"]
    if look == "flipped":
        crops, axial = crops.flip(-1), axial.flip(-2)
    elif look == "mirrored":
        views = torch.tensor(mirrored_groups((0, 1, 2)), device=crops.device)
        # Slices run from side to side, as does x of an axial image.
        crops, there, axial = crops[:, views].flip(3), there[:, views], axial.flip(-1)
    inputs = _inputs(crops, axial)
    return {**inputs, "sagittal_there": there, "owner": batch.there["owner"]}


def _size(settings: Settings, shapes: Mapping[str, CropShape]) -> tuple[int, int]:
    """(rows, cols) of what the network sees of sagittal crops."""
    return shapes[settings.crops["canal"]].seen[1:]


def _varied_sequences(batch: Batch, settings: Settings, draws: torch.Generator) -> Tensor:
    """Axial images (M, P, 3, y, x), each varied by itself, float32 in -1 to 1."""
    images = batch.images["axial"]
    if not len(images):
        return images.float()  # no level of the batch is on an axial slice
    varied = draw(images.shape[0] * images.shape[1], settings.augment, draws)
    seen = augmented(images.flatten(0, 1), varied, tuple(images.shape[-2:]), "y")
    return seen.unflatten(0, images.shape[:2])


def _inputs(crops: Tensor, axial: Tensor) -> dict[str, Tensor]:
    """Crops without their axis of one level, and axial images as ImageNet's statistics have it."""
    mean, deviation = (
        torch.tensor(values, device=axial.device)[:, None, None] for values in IMAGENET
    )
    return {"sagittal": crops[:, :, 0], "axial": ((axial + 1) / 2 - mean) / deviation}
