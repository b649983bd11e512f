"""What a network sees of a batch: as training varies it, as it is, or in a mirror."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from spinegrade.crop_shape import CropShape
from spinegrade.grade.views.base_augment import augmented, draw, plain
from spinegrade.grade.views.samples import Batch
from spinegrade.grade.views.settings import Augmentation, Settings


def training_look(
    batch: Batch, settings: Settings, shapes: Mapping[str, CropShape], draws: torch.Generator
) -> dict[str, Tensor]:
    """The network's inputs, varied by ``draws``, a generator on the CPU."""
    crops, middle = batch.images["sagittal"], None
    if settings.is_axial:
        crops, middle = outwards(crops), 0
    seen = {
        "sagittal": sagittal_training(
            *(crops, batch.aspects["sagittal"], settings.augment),
            *(_size(settings, shapes, "sagittal"), draws),
            middle=middle,
        )
    }
    if settings.is_axial:
        slices = as_left(batch.images["axial"], settings.axial_channels)
        aspects = batch.aspects["axial"][..., None].expand(slices.shape[:4])
        varied = draw(aspects.numel(), settings.augment, draws)
        still = varied._replace(shift=torch.zeros_like(varied.shift))
        size = _size(settings, shapes, "axial")
        images = augmented(slices.flatten(0, 3), still, size, "y", aspect=aspects.flatten())
        seen["axial"] = images.unflatten(0, slices.shape[:4])
    return {**seen, **batch.there}


def plain_look(
    batch: Batch, settings: Settings, shapes: Mapping[str, CropShape], look: str
) -> dict[str, Tensor]:
    """The network's inputs, not varied; ``look`` plain, flipped or mirrored.

    plain: as cropped. flipped: front and back exchanged. mirrored: the patient in a mirror, whose
    left is the patient's right; ``mirrored_columns`` brings its logits back.
    """
    inputs = dict(batch.there)
    crops = batch.images["sagittal"]
    if settings.is_axial:
        slices = as_left(batch.images["axial"], settings.axial_channels)
        inputs["axial"] = plain(slices, _size(settings, shapes, "axial"))
        crops = outwards(crops)
    inputs["sagittal"] = plain(crops, _size(settings, shapes, "sagittal"))
    if look == "flipped":
        # x of a sagittal and y of an axial image run to the back.
        for name, axis in (("sagittal", -1), ("axial", -2)):
            if name in inputs:
                inputs[name] = inputs[name].flip(axis)
    elif look == "mirrored":
        groups = torch.tensor(mirrored_groups(settings.sided_conditions), device=crops.device)
        inputs["sagittal"] = inputs["sagittal"][:, groups].flip(3)
        inputs["sagittal_there"] = inputs["sagittal_there"][:, groups]
    return inputs


def _size(settings: Settings, shapes: Mapping[str, CropShape], name: str) -> tuple[int, int]:
    """(rows, cols) of what the network sees of its input ``name``."""
    kind = settings.condition
    if settings.is_axial:
        kind = {"sagittal": "beside", "axial": "subarticular"}[name]
    return shapes[settings.crops[kind]].seen[1:]


def outwards(crops: Tensor) -> Tensor:
    """Of sagittal crops (B, 2, L, S, y, x), S odd, the middle slice and those outwards of it.

    The patient's left, first, lies at the later slices, the right at the earlier ones: both come
    from the middle out, (B, 2, L, S // 2 + 1, y, x).
    """
    middle = crops.shape[3] // 2
    left, right = crops[:, 0, :, middle:], crops[:, 1, :, : middle + 1]
    return torch.stack([left, right.flip(2)], dim=1)


def as_left(crops: Tensor, channels: int) -> Tensor:
    """Axial crops (B, 2, L, Z, y, x) head first, the right ones mirrored: (B, 2, L, Z, C, y, x).

    ``channels`` 1: each slice; 3: each between its neighbours in the crop, the end slices again
    beyond them. Slices are stored feet first.
    """
    slices = crops.flip(3)
    slices = torch.stack([slices[:, 0], slices[:, 1].flip(-1)], dim=1)
    if channels == 1:
        return slices.unsqueeze(4)
    count = slices.shape[3]
    beside = torch.arange(count)[:, None] + torch.tensor([-1, 0, 1])
    return slices[:, :, :, beside.clamp(0, count - 1).to(slices.device)]


def mirrored_columns(settings: Any, logits: Tensor) -> Tensor:
    """Logits (B, G, ...) of a mirrored patient, in the order of the patient's own sides."""
    groups = torch.tensor(mirrored_groups(settings.sided_conditions), device=logits.device)
    return logits[:, groups]


def mirrored_groups(sided_conditions: tuple[int, ...]) -> list[int]:
    """For each sided condition the place of the one that a left/right mirror turns into it."""
    other = {0: 0, 1: 2, 2: 1, 3: 4, 4: 3}
    return [sided_conditions.index(other[place]) for place in sided_conditions]


def sagittal_training(
    crops: Tensor,
    aspects: Tensor,
    augmentation: Augmentation,
    size: tuple[int, int],
    draws: torch.Generator,
    stack_of_group: tuple[int, ...] | None = None,
    middle: int | None = None,
) -> Tensor:
    """Crops uint8 (B, G, L, S, height, width) varied, float32 (B, G, L, S, *size) in -1 to 1.

    All crops of a study from one stack are varied alike, as parts of one image, about their own
    points; ``stack_of_group`` (G,) numbers the stacks (None: one). Each is cut beside its point by
    chance. A slice of a group is lost at all levels together, that in the ``middle`` never.
    """
    rows, groups, levels, slices = crops.shape[:4]
    stacks = torch.tensor(stack_of_group or (0,) * groups)
    count = int(stacks.max()) + 1
    drawn = draw(rows * count, augmentation, draws)
    of_crop = (torch.arange(rows)[:, None] * count + stacks)[:, :, None].expand(-1, -1, levels)
    uniform = torch.rand(rows, groups, levels, 3, generator=draws)
    beside = (uniform[..., :1] < augmentation.jitter) * (2 * uniform[..., 1:] - 1)
    # No further than pixels are stored.
    margins = ((have - want) // 2 for have, want in zip(crops.shape[-2:], size, strict=True))
    reach_px = min(augmentation.jitter_px, *margins)
    seen = augmented(
        crops.flatten(0, 2),
        drawn.of(of_crop.flatten())._replace(shift=torch.zeros(rows * groups * levels, 2)),
        size,
        "x",
        (beside * reach_px).flatten(0, 2),
        aspects.flatten(),
    ).unflatten(0, (rows, groups, levels))
    lost = torch.rand(rows, groups, slices, generator=draws) < augmentation.slice_loss
    lost[:, :, slices // 2 if middle is None else middle] = False
    if lost.any():
        black = lost[:, :, None, :, None, None].to(seen.device)
        seen = seen.masked_fill(black, -1.0)
    return seen
